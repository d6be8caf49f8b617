package load

import (
	"context"
	"fmt"
	"time"
)

// nothing is the sink of connections on which no message is due.
type nothing struct{}

func (nothing) message(c *conn, _ int64) error {
	return fmt.Errorf("load: connection %d: a message that nobody asked for", c.id)
}

func (nothing) flush(*conn) error { return nil }

// settle is how long a server is left alone after the last handshake was
// answered and after the last connection of a batch was closed, to finish what
// that gave it to do.
const settle = 20 * time.Millisecond

// Connect opens o.Conns connections, lets the server settle, closes them and
// lets it settle again, over and over. o.Begin is called before a batch is
// opened and o.End when it has settled, so that what lies between is the cost of
// accept and handshake alone; then closed, unless nil, when the batch is closed
// and the server has settled once more. Result.Elapsed is the time between Begin
// and the last answer. The connections end without a close frame, as those of a
// browser that lost its tab.
func Connect(ctx context.Context, o Options, closed func() error) (*Result, error) {
	k, err := newClient(o.withDefaults())
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.connects(ctx, closed)
}

func (k *client) connects(ctx context.Context, closed func() error) (*Result, error) {
	var r *Result
	k.sink = nothing{}
	k.opened = func(c *conn, now int64) error {
		r.Messages++
		r.Latency.Record(time.Duration(now - c.start))
		return nil
	}
	batches := func(d time.Duration, begin, end, closed func() error) error {
		for until := k.now() + int64(d); k.now() < until; {
			if err := k.batch(ctx, r, begin, end, closed); err != nil {
				return err
			}
		}
		return nil
	}
	skip := func() error { return nil }
	if closed == nil {
		closed = skip
	}
	r = new(Result)
	if err := batches(k.o.Warmup, skip, skip, skip); err != nil {
		return nil, err
	}
	r = new(Result)
	return r, batches(k.o.Measure, k.o.Begin, k.o.End, closed)
}

// batch opens and closes all connections once.
func (k *client) batch(ctx context.Context, r *Result, begin, end, closed func() error) error {
	if err := begin(); err != nil {
		return err
	}
	start := k.now()
	if err := k.openAll(ctx); err != nil {
		return err
	}
	r.Elapsed += time.Duration(k.now() - start)
	if err := k.rest(ctx, settle); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	for i := range k.conns {
		k.shut(&k.conns[i])
	}
	if err := k.rest(ctx, settle); err != nil {
		return err
	}
	return closed()
}

// IdleHooks are called by Idle, on its goroutine, to look at the server. Nil
// ones are skipped; an error ends the run.
type IdleHooks struct {
	// Opening is called before the first connection is opened and Opened when
	// the last has its answer.
	Opening, Opened func() error
	// Rested is called when all have been open for a while and never said a
	// word.
	Rested func() error
	// Touched is called when each has then had one message echoed and has
	// rested again.
	Touched func() error
}

// warmConns are opened, used and closed before Idle looks at the server for the
// first time, so that what a server sets up once is not counted.
const warmConns = 200

// Idle opens o.Conns connections and lets them rest for o.Warmup; then each
// echoes one message and they rest once more.
func Idle(ctx context.Context, o Options, hooks IdleHooks) (*Result, error) {
	o = o.withDefaults()
	warm := o
	warm.Conns = min(warmConns, o.Conns)
	warm.Warmup, warm.Measure = 0, 100*time.Millisecond
	warm.Begin, warm.End = nil, nil
	if _, err := Echo(ctx, warm); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	k, err := newClient(o)
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.idle(ctx, hooks)
}

func (k *client) idle(ctx context.Context, hooks IdleHooks) (*Result, error) {
	call := func(f func() error) error {
		if f == nil {
			return nil
		}
		return f()
	}
	r := new(Result)
	k.sink = nothing{}
	k.opened = func(c *conn, now int64) error {
		r.Messages++
		r.Latency.Record(time.Duration(now - c.start))
		return nil
	}
	if err := k.rest(ctx, k.o.Warmup); err != nil {
		return nil, err
	}
	if err := call(hooks.Opening); err != nil {
		return nil, err
	}
	start := k.now()
	if err := k.openAll(ctx); err != nil {
		return nil, err
	}
	r.Elapsed = time.Duration(k.now() - start)
	if err := call(hooks.Opened); err != nil {
		return nil, err
	}
	if err := k.rest(ctx, k.o.Warmup); err != nil {
		return nil, err
	}
	if err := call(hooks.Rested); err != nil {
		return nil, err
	}
	if err := k.touch(ctx); err != nil {
		return nil, err
	}
	if err := k.rest(ctx, k.o.Warmup); err != nil {
		return nil, err
	}
	return r, call(hooks.Touched)
}

// touch has each connection echo one message, o.Opening at a time.
func (k *client) touch(ctx context.Context) error {
	t := &toucher{k: k}
	k.sink = t
	for range min(k.o.Opening, len(k.conns)) {
		if err := t.next(); err != nil {
			return err
		}
	}
	if err := k.run(ctx, func(int64) bool { return t.done == len(k.conns) }); err != nil {
		return err
	}
	k.sink = nothing{}
	return nil
}

// toucher is the sink of touch.
type toucher struct {
	k          *client
	sent, done int
}

func (t *toucher) next() error {
	if t.sent == len(t.k.conns) {
		return nil
	}
	c := &t.k.conns[t.sent]
	t.sent++
	t.k.prepare(c)
	t.k.out = t.k.appendMessage(t.k.out[:0], c, t.k.now())
	err := t.k.transmit(c, t.k.out)
	if !t.k.o.Raw {
		c.frame = nil // its reply is compared with the template
	}
	return err
}

func (t *toucher) message(*conn, int64) error {
	t.done++
	return t.next()
}

func (t *toucher) flush(*conn) error { return nil }
