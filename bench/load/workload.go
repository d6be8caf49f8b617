package load

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Kind is what a workload does.
type Kind string

// The kinds of workload.
const (
	KindEcho    Kind = "echo"    // closed loop
	KindDeflate Kind = "deflate" // the same with permessage-deflate, without takeover
	KindPublish Kind = "publish" // one publishes, all receive
	KindIdle    Kind = "idle"    // connections that rest
	KindConnect Kind = "connect" // open a batch, close it, again
)

// Workload is a kind and its sizes, written
//
//	echo-CONNSxBYTES[xDEPTH]
//	deflate-CONNSxBYTES[xDEPTH]
//	publish-MEMBERSxBYTES[xDEPTH]
//	idle-CONNS
//	connect-CONNS[xDEPTH]
//
// where DEPTH, 1 unless given, is the number of messages in flight: per
// connection for echo and deflate, in all for publish; for connect it is the number of
// connections that are being opened at a time.
type Workload struct {
	Kind         Kind
	Conns        int
	PayloadBytes int
	Depth        int
}

// ParseWorkload reads a workload's name.
func ParseWorkload(name string) (Workload, error) {
	kind, sizes, _ := strings.Cut(name, "-")
	w := Workload{Kind: Kind(kind), Depth: 1}
	to := []*int{&w.Conns}
	need := 1
	switch w.Kind {
	case KindEcho, KindDeflate, KindPublish:
		to = append(to, &w.PayloadBytes, &w.Depth)
		need = 2
	case KindConnect:
		to = append(to, &w.Depth)
	case KindIdle:
	default:
		return Workload{}, fmt.Errorf("workload %q: want echo-, deflate-, publish-, idle- or connect-", name)
	}
	parts := strings.Split(sizes, "x")
	if len(parts) < need || len(parts) > len(to) {
		return Workload{}, fmt.Errorf("workload %q: want %d to %d sizes, such as echo-1000x128", name, need, len(to))
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return Workload{}, fmt.Errorf("workload %q: %q is not a positive number", name, part)
		}
		*to[i] = n
	}
	return w, nil
}

// String is the name that ParseWorkload reads.
func (w Workload) String() string {
	s := fmt.Sprintf("%s-%d", w.Kind, w.Conns)
	if w.Kind == KindEcho || w.Kind == KindDeflate || w.Kind == KindPublish {
		s += fmt.Sprintf("x%d", w.PayloadBytes)
	}
	if w.Depth > 1 {
		s += fmt.Sprintf("x%d", w.Depth)
	}
	return s
}

// idlePayloadBytes is the size of the one message on an idle connection.
const idlePayloadBytes = 128

// Apply returns o with the sizes of the workload.
func (w Workload) Apply(o Options) Options {
	o.Conns, o.PayloadBytes, o.Depth = w.Conns, w.PayloadBytes, w.Depth
	switch w.Kind {
	case KindDeflate:
		o.Deflate, o.Text = true, true
	case KindConnect:
		o.Opening = w.Depth
	case KindIdle:
		o.PayloadBytes = idlePayloadBytes
	}
	return o
}

// Run plays the workload against o.Address. For KindIdle,
// o.Begin is called before the opening and o.End when all have rested.
func (w Workload) Run(ctx context.Context, o Options) (*Result, error) {
	o = w.Apply(o)
	switch w.Kind {
	case KindEcho, KindDeflate:
		return Echo(ctx, o)
	case KindPublish:
		return Publish(ctx, o)
	case KindConnect:
		return Connect(ctx, o, nil)
	case KindIdle:
		return Idle(ctx, o, IdleHooks{Opening: o.Begin, Rested: o.End})
	default:
		return nil, fmt.Errorf("workload kind %q is unknown", w.Kind)
	}
}
