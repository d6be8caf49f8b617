package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gobwas/ws"

	"weir/bench/internal/proc"
	"weir/bench/kernels"
	"weir/bench/load"
)

// subject is one kind of work, done by one guest.
type subject struct {
	Name  string `json:"name"`
	Guest string `json:"guest"` // its language
	Work  string `json:"work"`  // of one message
	// Compute says that the guest's own work is all that counts beside the message's way.
	Compute bool `json:"compute"`

	module string
	open   func(ctx context.Context, address string) (session, error)
}

// session is a subject's clients, connected to one server.
type session interface {
	// play has messages answered for about d, begins and ends the meter around them, and counts them. Every answer is
	// compared with the right one.
	play(ctx context.Context, d time.Duration, m *proc.Meter) (messages uint64, err error)
	close()
}

// rounds make a message of each kernel some 4 ms long on a machine of 2020: the way of the message, some 20 µs, and
// what metering changes about it, vanish beside that.
var rounds = map[kernels.Kernel]struct{ c, golang uint32 }{
	kernels.SHA256:     {400, 160},
	kernels.JSON:       {140, 9},
	kernels.Mandelbrot: {7, 5},
}

// subjects lists what is measured.
func subjects(g guests) []subject {
	var all []subject
	for _, k := range kernels.All() {
		all = append(all,
			compute(k, "C", g.kernelsC, rounds[k].c),
			compute(k, "Go", g.kernelsGo, rounds[k].golang))
	}
	for _, w := range []load.Workload{
		{Kind: load.KindEcho, Conns: 100, PayloadBytes: 128, Depth: 1},
		{Kind: load.KindEcho, Conns: 50, PayloadBytes: 128, Depth: 16},
	} {
		all = append(all, echo(w, "C", g.echoC))
	}
	return append(all, chat("C", g.chatC), chat("Go", g.chatGo))
}

func compute(k kernels.Kernel, guest, module string, rounds uint32) subject {
	return subject{
		Name: k.String(), Guest: guest, module: module, Compute: true,
		Work: fmt.Sprintf("%d × %s", rounds, k.About()),
		open: func(ctx context.Context, address string) (session, error) {
			message := kernels.Message(k, rounds)
			want, err := kernels.Answer(message)
			if err != nil {
				return nil, err
			}
			c, err := dial(ctx, address, "/")
			if err != nil {
				return nil, err
			}
			return &computeSession{c, appendFrame(nil, ws.OpBinary, message), want}, nil
		},
	}
}

// computeSession asks one question again and again, one at a time.
type computeSession struct {
	c     *client
	frame []byte
	want  []byte
}

func (s *computeSession) close() { s.c.close() }

func (s *computeSession) play(ctx context.Context, d time.Duration, m *proc.Meter) (uint64, error) {
	return measured(ctx, d, m, func() (uint64, error) {
		if err := s.c.send(s.frame); err != nil {
			return 0, err
		}
		return 1, s.c.expect(ws.OpBinary, s.want)
	})
}

// measured repeats once for about d, between Begin and End of the meter, and adds up what it counts.
func measured(ctx context.Context, d time.Duration, m *proc.Meter, once func() (uint64, error)) (uint64, error) {
	if err := m.Begin(); err != nil {
		return 0, err
	}
	var messages uint64
	for until := time.Now().Add(d); time.Now().Before(until); {
		n, err := once()
		if err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		messages += n
	}
	return messages, m.End()
}

func echo(w load.Workload, guest, module string) subject {
	return subject{
		Name: w.String(), Guest: guest, module: module,
		Work: "send it back",
		open: func(_ context.Context, address string) (session, error) { return echoSession{w, address}, nil },
	}
}

// echoSession connects anew for each slice.
type echoSession struct {
	workload load.Workload
	address  string
}

// echoWarmup is for the connections to be opened and the server to find its pace.
const echoWarmup = 50 * time.Millisecond

func (echoSession) close() {}

func (s echoSession) play(ctx context.Context, d time.Duration, m *proc.Meter) (uint64, error) {
	r, err := s.workload.Run(ctx, load.Options{Address: s.address, Path: "/", Warmup: echoWarmup, Measure: d, Begin: m.Begin, End: m.End})
	if err != nil {
		return 0, err
	}
	return r.Messages, nil
}

// chatDepth is how many lines are said at once.
const chatDepth = 16

// chatText holds what JSON must escape.
const chatText = "A line as people write them: it has some length, \"quotes\", ümlauts and a\nbreak, and it is 120 bytes or so long."

func chat(guest, module string) subject {
	return subject{
		Name: "chat", Guest: guest, module: module,
		Work: "read a line in JSON and publish it, in JSON, to a room of two",
		open: func(ctx context.Context, address string) (session, error) {
			says, err := json.Marshal(map[string]string{"type": "say", "text": chatText})
			if err != nil {
				return nil, err
			}
			heard, err := json.Marshal(struct {
				Type string `json:"type"`
				From string `json:"from"`
				Text string `json:"text"`
			}{"say", "ann", chatText})
			if err != nil {
				return nil, err
			}
			s := &chatSession{heard: heard}
			for range chatDepth {
				s.frames = appendFrame(s.frames, ws.OpText, says)
			}
			if err := s.join(ctx, address); err != nil {
				s.close()
				return nil, err
			}
			return s, nil
		},
	}
}

// chatSession is two members of a room, of whom the first speaks.
type chatSession struct {
	speaker, listener *client
	frames, heard     []byte
}

// join opens both connections and reads who has joined.
func (s *chatSession) join(ctx context.Context, address string) (err error) {
	joined := func(who string, members int) []byte {
		return fmt.Appendf(nil, `{"type":"joined","from":"%s","members":%d}`, who, members)
	}
	if s.speaker, err = dial(ctx, address, "/room?name=ann"); err != nil {
		return err
	}
	if err := s.speaker.expect(ws.OpText, joined("ann", 1)); err != nil {
		return err
	}
	if s.listener, err = dial(ctx, address, "/room?name=bob"); err != nil {
		return err
	}
	return errors.Join(s.speaker.expect(ws.OpText, joined("bob", 2)), s.listener.expect(ws.OpText, joined("bob", 2)))
}

func (s *chatSession) close() {
	for _, c := range []*client{s.speaker, s.listener} {
		if c != nil {
			c.close()
		}
	}
}

func (s *chatSession) play(ctx context.Context, d time.Duration, m *proc.Meter) (uint64, error) {
	return measured(ctx, d, m, func() (uint64, error) {
		if err := s.speaker.send(s.frames); err != nil {
			return 0, err
		}
		for range chatDepth {
			if err := s.listener.expect(ws.OpText, s.heard); err != nil {
				return 0, err
			}
		}
		return chatDepth, nil
	})
}
