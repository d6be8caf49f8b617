package load

import (
	"context"
	"fmt"
	"time"
)

// echo is the sink of Echo: each reply is answered with the next message.
type echo struct {
	k        *client
	latency  *Hist
	messages uint64
	counting bool
	stopping bool
	due      int // replies still to come while stopping
}

// Echo opens o.Conns connections, keeps o.Depth messages in flight on each, and
// counts the replies in the measured time. Replies that one read brought are
// answered in one write.
func Echo(ctx context.Context, o Options) (*Result, error) {
	k, err := newClient(o.withDefaults())
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.echo(ctx)
}

func (k *client) echo(ctx context.Context) (*Result, error) {
	r := new(Result)
	e := &echo{k: k, latency: &r.Latency}
	k.sink = e
	for i := range k.conns {
		k.prepare(&k.conns[i])
	}
	if err := k.openAll(ctx); err != nil {
		return nil, err
	}
	for i := range k.conns {
		c := &k.conns[i]
		for range k.o.Depth {
			k.out = k.appendMessage(k.out, c, k.now())
		}
		if err := e.flush(c); err != nil {
			return nil, err
		}
	}
	err := k.measure(ctx, r, func(on bool) {
		e.counting = on
		if on {
			e.messages = 0
		} else {
			r.Messages = e.messages
		}
	})
	if err != nil {
		return nil, err
	}
	e.stopping = true
	for i := range k.conns {
		e.due += int(k.conns[i].sendSeq - k.conns[i].recvSeq)
	}
	if err := k.run(ctx, func(int64) bool { return e.due == 0 }); err != nil {
		return nil, fmt.Errorf("%d replies missing: %w", e.due, err)
	}
	return r, nil
}

// measure runs the load, warm-up first, and calls count at both ends of the
// measured time.
func (k *client) measure(ctx context.Context, r *Result, count func(on bool)) error {
	until := k.now() + int64(k.o.Warmup)
	after := func(now int64) bool { return now >= until }
	if err := k.run(ctx, after); err != nil {
		return err
	}
	if err := k.o.Begin(); err != nil {
		return err
	}
	start := k.now()
	until = start + int64(k.o.Measure)
	count(true)
	if err := k.run(ctx, after); err != nil {
		return err
	}
	if err := k.o.End(); err != nil {
		return err
	}
	r.Elapsed = time.Duration(k.now() - start)
	count(false)
	return nil
}

// message implements sink.
func (e *echo) message(c *conn, now int64) error {
	if c.recvSeq > c.sendSeq {
		return fmt.Errorf("load: connection %d: a reply to nothing", c.id)
	}
	if e.stopping {
		e.due--
		return nil
	}
	if e.counting {
		e.messages++
		e.latency.Record(time.Duration(now - c.sent[int(c.recvSeq-1)%len(c.sent)]))
	}
	e.k.out = e.k.appendMessage(e.k.out, c, now)
	return nil
}

// flush implements sink.
func (e *echo) flush(c *conn) error {
	if len(e.k.out) == 0 {
		return nil
	}
	p := e.k.out
	e.k.out = p[:0]
	return e.k.transmit(c, p)
}
