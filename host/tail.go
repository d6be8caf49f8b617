package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/runtime"
)

// Kinds of TailEvent.
const (
	TailMessage = "message" // a peer's message was given to the handler
	TailSend    = "send"    // a message to one connection was queued or written
	TailPublish = "publish" // a message to a topic was
	TailOpen    = "open"    // a connection became a WebSocket
	TailClose   = "close"   // a WebSocket is gone
	TailFailure = "failure" // a handler trapped, ran out of a limit, or returned non-zero
)

// tailKind is a kind's place in tailKinds. Those that are sampled come first.
type tailKind uint8

const (
	tailMessage tailKind = iota
	tailSend
	tailPublish
	tailSampled // how many are sampled
)

const (
	tailOpen tailKind = tailSampled + iota
	tailClose
	tailFailure
)

var tailKinds = []string{TailMessage, TailSend, TailPublish, TailOpen, TailClose, TailFailure}

// TailKinds are the kinds of TailEvent.
func TailKinds() []string { return slices.Clone(tailKinds) }

const (
	maxTails         = 8
	maxTailPayload   = 4 << 10
	defaultTailEvent = 1024
	maxTailEvents    = 8 << 10
	// tailPace is how long a reader that has nothing left lets events gather: who
	// is woken for each of them takes the processor from the connections.
	tailPace = 20 * time.Millisecond
)

var (
	// ErrTailOptions means that TailOptions cannot be followed; the error says why.
	ErrTailOptions = errors.New("host: a tail cannot be like that")
	// ErrTooManyTails means that 8 tails are open.
	ErrTooManyTails = errors.New("host: there are too many tails already")
	// ErrTailClosed means that a tail, or its server, was closed.
	ErrTailClosed = errors.New("host: the tail is closed")
)

// TailOptions choose the events of a tail. The zero value of a field means all.
type TailOptions struct {
	// Module and Route are the name and the path pattern of a module and a route.
	Module, Route string
	// Conn is a connection's id.
	Conn uint64
	// Remote is the network of the peer. A publish that no connection's event asked
	// for has no peer, no connection and no route.
	Remote netip.Prefix
	// Kinds are of TailKinds; nil means all.
	Kinds []string
	// Sample is of how many messages one is shown, and of how many sends and
	// publishes; the other kinds are shown always. 0 means 1.
	Sample int
	// Payload is how many bytes of a payload are shown, at most 4096; 0 shows none.
	Payload int
	// Buffer is how many events may wait for the reader, at most 8192; what comes
	// when so many do is dropped. 0 means 1024.
	Buffer int
}

// TailEvent is something that happened to a connection.
type TailEvent struct {
	Time       int64  // ms since 1970
	Kind       string // of TailKinds
	Conn       uint64 // its id; of a publish the publisher's, or 0
	Module     string
	Route      string // path pattern as it was configured
	Generation uint64 // of the module
	Remote     netip.AddrPort
	Path       string // of an open
	Topic      string // of a publish
	Receivers  int    // of a publish
	Size       int    // bytes of the payload
	Binary     bool
	Payload    []byte        // its beginning; nil when none was asked for
	Code       int           // of a close, as the handler hears it
	Reason     string        // of a close
	Cause      string        // of a close: what ended it, such as "peer_closed"
	Error      string        // of a failure
	Took       time.Duration // of a message: how long the handler had it
}

// Tail is a view of what happens on a server. Nobody waits for its reader: an
// event that finds the buffer full is dropped and counted. Next and Pending are
// for one goroutine at a time, the others for any.
type Tail struct {
	srv     *Server
	number  uint64 // of all tails of the server
	slot    int    // of those that are open, in [0, maxTails)
	tenant  *tenant
	route   string
	conn    connID
	remote  netip.Prefix
	kinds   uint32 // bits by tailKind
	sample  uint32
	payload int // bytes

	// The ring: who has something takes the next place, if the reader has emptied
	// it, fills it, and then says so in the place. Nobody ever waits for another
	// (D. Vyukov, "Bounded MPMC queue").
	places []tailPlace
	taken  atomic.Uint64 // places that were taken, ever
	_      [56]byte      // what the reader writes is on another line

	read    uint64 // places that were read, ever; the reader
	woken   time.Time
	waiting atomic.Bool   // the reader wants a word in wake
	wake    chan struct{} // capacity 1: one word is as good as two
	dropped atomic.Uint64

	once   sync.Once
	closed chan struct{}
}

// tailPlace is one place of the ring. It is free for the event of number n when
// its turn is n, and holds it when its turn is n+1.
type tailPlace struct {
	turn    atomic.Uint64
	event   TailEvent // without payload
	payload []byte    // its memory
	shown   int       // bytes of payload
}

// tailSet are the open tails; replaced, never changed.
type tailSet struct {
	list    []*Tail
	kinds   uint32 // that at least one wants
	payload int    // bytes that one shows at most
}

// tails are those of a server.
type tails struct {
	set     atomic.Pointer[tailSet] // nil: none, which is all that a turn looks at
	dropped atomic.Uint64           // events of all tails that there ever were

	mu   sync.Mutex // below
	made uint64
}

// Tail opens a tail. It sees what happens in turns that begin from now on. It
// fails with ErrTooManyTails, ErrUnknownModule or ErrTailOptions. The caller
// closes it. Any goroutine.
func (s *Server) Tail(o TailOptions) (*Tail, error) {
	t, err := s.newTail(o)
	if err != nil {
		return nil, err
	}
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	var list []*Tail
	if set := s.tails.set.Load(); set != nil {
		list = set.list
	}
	if len(list) >= maxTails {
		return nil, ErrTooManyTails
	}
	for slices.ContainsFunc(list, func(other *Tail) bool { return other.slot == t.slot }) {
		t.slot++
	}
	s.tails.made++
	t.number = s.tails.made
	s.tails.set.Store(newTailSet(append(slices.Clone(list), t)))
	return t, nil
}

func (s *Server) newTail(o TailOptions) (*Tail, error) {
	bad := func(key, format string, args ...any) (*Tail, error) {
		return nil, fmt.Errorf("%w: %s: %s", ErrTailOptions, key, fmt.Sprintf(format, args...))
	}
	t := &Tail{
		srv: s, route: o.Route, conn: connID(o.Conn), remote: o.Remote, sample: uint32(max(o.Sample, 1)), payload: o.Payload,
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if o.Module != "" {
		if t.tenant = s.tenants[o.Module]; t.tenant == nil {
			return nil, ErrUnknownModule
		}
	}
	for _, kind := range o.Kinds {
		i := slices.Index(tailKinds, kind)
		if i < 0 {
			return bad("kinds", "%q is none of %s", kind, strings.Join(tailKinds, ", "))
		}
		t.kinds |= 1 << i
	}
	if len(o.Kinds) == 0 {
		t.kinds = 1<<len(tailKinds) - 1
	}
	switch {
	case o.Sample < 0 || o.Sample > 1<<30:
		return bad("sample", "%d is outside [0, %d]", o.Sample, 1<<30)
	case o.Payload < 0 || o.Payload > maxTailPayload:
		return bad("payload", "%d is outside [0, %d]", o.Payload, maxTailPayload)
	case o.Buffer < 0 || o.Buffer > maxTailEvents:
		return bad("buffer", "%d is outside [0, %d]", o.Buffer, maxTailEvents)
	case o.Buffer == 0:
		o.Buffer = defaultTailEvent
	}
	o.Buffer = max(o.Buffer, 2) // with one place, full and empty would look alike
	t.places = make([]tailPlace, o.Buffer)
	memory := make([]byte, o.Buffer*o.Payload)
	for i := range t.places {
		t.places[i].turn.Store(uint64(i))
		t.places[i].payload = memory[i*o.Payload : (i+1)*o.Payload]
	}
	return t, nil
}

func newTailSet(list []*Tail) *tailSet {
	if len(list) == 0 {
		return nil
	}
	set := &tailSet{list: list}
	for _, t := range list {
		set.kinds |= t.kinds
		set.payload = max(set.payload, t.payload)
	}
	return set
}

// Close ends the tail: Next returns what waits, and then ErrTailClosed. More
// calls do nothing.
func (t *Tail) Close() {
	t.once.Do(func() {
		close(t.closed)
		s := t.srv
		s.tails.mu.Lock()
		defer s.tails.mu.Unlock()
		list := slices.DeleteFunc(slices.Clone(s.tails.set.Load().list), func(other *Tail) bool { return other == t })
		s.tails.set.Store(newTailSet(list))
	})
}

// Dropped is how many events were dropped because too many waited.
func (t *Tail) Dropped() uint64 { return t.dropped.Load() }

// Pending is how many events wait for Next.
func (t *Tail) Pending() int { return int(t.taken.Load() - t.read) }

// Next waits for the next event and returns it; the payload is the caller's. It
// fails with ErrTailClosed or the error of ctx. When events come one after the
// other it lets some gather, for 20ms at most, whatever the server's clock.
func (t *Tail) Next(ctx context.Context) (TailEvent, error) {
	for {
		if ev, ok := t.next(); ok {
			return ev, nil
		}
		rest := tailPace - time.Since(t.woken)
		var pause <-chan time.Time
		if rest > 0 && !t.woken.IsZero() {
			pause = time.After(rest)
		} else {
			t.waiting.Store(true)
			if t.ready() { // it came before we said so
				t.waiting.Store(false)
				continue
			}
		}
		select {
		case <-pause:
			t.woken = time.Time{}
			if t.ready() {
				t.woken = time.Now()
			}
		case <-t.wake:
			t.woken = time.Now()
		case <-ctx.Done():
			return TailEvent{}, ctx.Err()
		case <-t.closed:
			return t.last()
		case <-t.srv.stop:
			return t.last()
		}
	}
}

// last is Next for a tail that was closed.
func (t *Tail) last() (TailEvent, error) {
	if ev, ok := t.next(); ok {
		return ev, nil
	}
	return TailEvent{}, ErrTailClosed
}

// ready reports that there is an event to read.
func (t *Tail) ready() bool {
	return t.places[t.read%uint64(len(t.places))].turn.Load() == t.read+1
}

// next reads the next event, if there is one.
func (t *Tail) next() (ev TailEvent, ok bool) {
	if !t.ready() {
		return ev, false
	}
	p := &t.places[t.read%uint64(len(t.places))]
	ev = p.event
	if t.payload > 0 {
		ev.Payload = append([]byte{}, p.payload[:p.shown]...)
	}
	p.event = TailEvent{}
	p.turn.Store(t.read + uint64(len(t.places)))
	t.read++
	return ev, true
}

// put copies an event and the beginning of its payload into the ring, or drops
// it. Any goroutine; it waits for nobody. Hot path, 0 allocs (TestTailAllocs).
func (t *Tail) put(ev *TailEvent, payload []byte) {
	n := t.taken.Load()
	p := &t.places[n%uint64(len(t.places))]
	for {
		turn := p.turn.Load()
		if turn == n && t.taken.CompareAndSwap(n, n+1) {
			break
		}
		if turn < n { // not read yet: the ring is full
			t.dropped.Add(1)
			t.srv.tails.dropped.Add(1)
			return
		}
		n = t.taken.Load() // somebody was faster
		p = &t.places[n%uint64(len(t.places))]
	}
	p.event = *ev
	p.shown = copy(p.payload, payload)
	p.turn.Store(n + 1)
	if t.waiting.Load() && t.waiting.CompareAndSwap(true, false) {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// wants reports whether an event of tn, and of c unless it is nil, belongs into
// the tail, but for sampling.
func (t *Tail) wants(kind tailKind, tn *tenant, c *Conn) bool {
	if t.kinds&(1<<kind) == 0 || t.tenant != nil && t.tenant != tn {
		return false
	}
	if t.conn == 0 && t.route == "" && !t.remote.IsValid() {
		return true
	}
	return c != nil &&
		(t.conn == 0 || t.conn == c.id) &&
		(t.route == "" || t.route == c.route.pattern.text) &&
		(!t.remote.IsValid() || t.remote.Contains(c.sock.RemoteAddr().Addr()))
}

// show puts an event of a kind that is not sampled into the tails that want it.
func (set *tailSet) show(kind tailKind, tn *tenant, c *Conn, ev *TailEvent) {
	if set.kinds&(1<<kind) == 0 {
		return
	}
	for _, t := range set.list {
		if t.wants(kind, tn, c) {
			ev.fill(kind, tn, c)
			t.put(ev, nil)
		}
	}
}

// fill sets what every event has.
func (ev *TailEvent) fill(kind tailKind, tn *tenant, c *Conn) {
	ev.Kind, ev.Module = tailKinds[kind], tn.name
	ev.Time = tn.srv.clock.UnixMilli()
	if c != nil {
		ev.Conn, ev.Route, ev.Remote = uint64(c.id), c.route.pattern.text, c.sock.RemoteAddr()
		if ev.Generation == 0 {
			ev.Generation = c.crew().number
		}
	}
}

// tailSeen is what a turn has seen, by kind, since one was shown of a tail.
type tailSeen struct {
	number uint64 // of the tail
	n      [tailSampled]uint32
}

// tailPicks are tails by their index in a set, as bits.
type tailPicks uint8

// pick chooses the tails that show the next event of a kind that is sampled.
// Each turn counts by itself, from where it stands among the turns, so that
// together they show one of Tail.sample.
func (t *turn) pick(kind tailKind, tn *tenant, c *Conn) (picks tailPicks) {
	if t.tails.kinds&(1<<kind) == 0 {
		return 0
	}
	for i, tl := range t.tails.list {
		if !tl.wants(kind, tn, c) {
			continue
		}
		seen := &t.seen[tl.slot]
		if seen.number != tl.number {
			from := uint32(drawOf(uint64(t.number)) % uint64(tl.sample))
			*seen = tailSeen{tl.number, [tailSampled]uint32{from, from, from}}
		}
		if seen.n[kind]++; seen.n[kind] >= tl.sample {
			seen.n[kind] = 0
			picks |= 1 << i
		}
	}
	return picks
}

// showPicked puts ev into the tails that were picked.
func (t *turn) showPicked(picks tailPicks, ev *TailEvent, payload []byte) {
	for i, tl := range t.tails.list {
		if picks&(1<<i) != 0 {
			tl.put(ev, payload)
		}
	}
}

// peek notes a message that the handler is about to get, if a tail shows it: its
// payload, lent, may be something else when the handler is done. The caller has
// looked whether there are tails.
func (t *turn) peek(c *Conn, ev runtime.Event, payload []byte) {
	t.picks = t.pick(tailMessage, c.route.tenant, c)
	if t.picks == 0 {
		return
	}
	t.peeked = append(t.peeked[:0], payload[:min(len(payload), t.tails.payload)]...)
	t.peekedBytes, t.peekedBinary = len(payload), ev == runtime.EventBinary
	t.peekedAt = t.srv.clock.Mono()
}

// showMessage shows the message that peek has noted, before anything that came
// of it.
func (t *turn) showMessage(c *Conn) {
	ev := TailEvent{Size: t.peekedBytes, Binary: t.peekedBinary, Generation: t.crew.number}
	ev.Took = time.Duration(t.srv.clock.Mono() - t.peekedAt)
	ev.fill(tailMessage, c.route.tenant, c)
	t.showPicked(t.picks, &ev, t.peeked)
	t.picks = 0
}

// showSend shows a frame that c was sent.
func (t *turn) showSend(c *Conn, frame []byte) {
	tn := c.route.tenant
	picks := t.pick(tailSend, tn, c)
	if picks == 0 {
		return
	}
	binary, payload := unframe(frame)
	ev := TailEvent{Size: len(payload), Binary: binary}
	ev.fill(tailSend, tn, c)
	t.showPicked(picks, &ev, payload)
}

// showPublish shows a frame that was published to tp, or to nobody in a topic of
// that name when tp is nil.
func (t *turn) showPublish(tn *tenant, tp *topic, name []byte, frame []byte, receivers int) {
	c := t.inv.conn
	picks := t.pick(tailPublish, tn, c)
	if picks == 0 {
		return
	}
	binary, payload := unframe(frame)
	ev := TailEvent{Size: len(payload), Binary: binary, Receivers: receivers}
	if tp != nil {
		ev.Topic = tp.name
	} else {
		ev.Topic = string(name)
	}
	ev.fill(tailPublish, tn, c)
	t.showPicked(picks, &ev, payload)
}

// showFailure shows that a handler failed with status, or with err.
func (t *turn) showFailure(gen *generation, c *Conn, status int32, err error) {
	ev := TailEvent{Generation: gen.number}
	if err != nil {
		ev.Error = err.Error()
	} else {
		ev.Error = fmt.Sprintf("it returned %d", status)
	}
	t.tails.show(tailFailure, gen.tn, c, &ev)
}

// showClose shows that c, which was open, is gone.
func (s *Server) showClose(c *Conn) {
	set := s.tails.set.Load()
	if set == nil {
		return
	}
	ev := TailEvent{Code: codeAbnormal, Cause: causeNone.String()}
	if c.end != nil {
		ev.Code, ev.Reason, ev.Cause = int(c.end.code), c.end.reason, c.end.cause.String()
	}
	set.show(tailClose, c.route.tenant, c, &ev)
}
