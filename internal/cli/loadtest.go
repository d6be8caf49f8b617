package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"weir/internal/hist"
)

// loadTest is one benchmark: messages over some connections, one reply to each.
//
// With a rate it is an open model: message k is due at start + k/rate, whatever
// became of those before it, and its latency counts from then. A server that
// stalls therefore shows every message that the stall delayed, not only the one
// that it hit. Without a rate, each connection sends its next message when the
// reply to the last has come.
type loadTest struct {
	dialer       *dialer
	conns        int
	rate         float64 // messages a second over all connections; 0 = closed loop
	duration     time.Duration
	replyTimeout time.Duration // for what is under way at the end; and without any reply at all, the end
	kind         websocket.MessageType
	message      []byte

	progress func(loadTestReport) // each second, and only from run; nil = nobody looks

	start   time.Time
	stop    chan struct{} // closed when nothing more shall be sent than was due by
	stopped time.Time     // set just before
	giveUp  atomic.Bool   // what fails now, fails because run cuts it off
	sent    atomic.Uint64
	replies atomic.Uint64
	unsent  atomic.Uint64 // messages that were due and never left
	unasked atomic.Uint64 // messages beyond the number of those sent
	lost    atomic.Uint64 // connections that ended by themselves
	shards  [latencyShards]latencyShard

	mu      sync.Mutex
	reasons map[string]int // why connections were lost
}

// latencyShards bounds the memory for latencies: 72 KiB each. A connection uses
// one of them.
const latencyShards = 16

type latencyShard struct {
	mu      sync.Mutex
	latency hist.Histogram
	late    hist.Histogram // how long after it was due a message was sent
	last    time.Time      // when the last reply came
}

// reply notes a reply that came now to a message of then.
func (s *latencyShard) reply(then time.Time) {
	now := time.Now()
	s.mu.Lock()
	s.latency.Record(now.Sub(then))
	s.last = now
	s.mu.Unlock()
}

func (s *latencyShard) wrote(late time.Duration) {
	s.mu.Lock()
	s.late.Record(late)
	s.mu.Unlock()
}

// loadTestReport is what a test has found, so far or at its end.
type loadTestReport struct {
	elapsed  time.Duration // from the start to the end of sending, or to the last reply if that is later
	opening  time.Duration // all connections
	sent     uint64
	replies  uint64
	missing  uint64 // replies that never came; only at the end
	unsent   uint64
	unasked  uint64
	lost     uint64
	reasons  map[string]int
	latency  hist.Histogram
	late     hist.Histogram
	silent   bool // it ended early, because nothing was answered
	signaled bool // it ended early, because somebody wanted so
}

// errors is what went wrong: connections lost, replies missing, and messages that
// the server did not let leave.
func (r *loadTestReport) errors() uint64 { return r.lost + r.missing + r.unsent }

// dialsAtOnce bounds handshakes under way; servers bound them too.
const dialsAtOnce = 64

// run opens the connections, runs the test and closes them. signals end it
// early, with what was found until then; a second one returns errStopped. It
// takes at most the dialer's timeout, duration, replyTimeout, and 10 s to close.
func (t *loadTest) run(ctx context.Context, env *Env) (*loadTestReport, error) {
	t.stop = make(chan struct{})
	t.reasons = map[string]int{}
	report := &loadTestReport{}
	began := time.Now()
	dialing, stop := untilSignal(ctx, env)
	conns, err := t.open(dialing)
	stop()
	if err != nil {
		return nil, err
	}
	report.opening = time.Since(began)

	t.start = time.Now()
	var running, answered sync.WaitGroup
	answered.Add(t.conns)
	for i, conn := range conns {
		c := &loadConn{test: t, conn: conn, i: i, shard: &t.shards[i%latencyShards], answered: sync.OnceFunc(answered.Done)}
		running.Go(c.run) // ends with conn
	}
	all := make(chan struct{})
	running.Go(func() { // ends when every conn has
		answered.Wait()
		close(all)
	})
	err = t.watch(ctx, env, report, all)
	sending := min(time.Since(t.start), t.duration)
	cut(conns, err == nil, &t.giveUp)
	running.Wait()
	if err != nil {
		return nil, err
	}
	t.sum(report)
	report.elapsed = max(report.elapsed, sending)
	report.missing = report.sent - min(report.replies, report.sent)
	return report, nil
}

// open dials all connections. One that fails ends it: a test with fewer would
// measure something else.
func (t *loadTest) open(ctx context.Context) ([]*websocket.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, t.dialer.timeout)
	defer cancel()
	conns := make([]*websocket.Conn, t.conns)
	var next, opened atomic.Int64
	var once sync.Once
	var first error
	var dialers sync.WaitGroup
	for range min(dialsAtOnce, t.conns) {
		dialers.Go(func() { // ends with the last connection or the first error
			for {
				i := int(next.Add(1)) - 1
				if i >= t.conns || bounded.Err() != nil {
					return
				}
				conn, err := t.dialer.dial(bounded, callbacks{})
				if err != nil {
					once.Do(func() { first = err })
					cancel()
					return
				}
				conns[i] = conn
				opened.Add(1)
			}
		})
	}
	dialers.Wait()
	n := int(opened.Load())
	if n == t.conns {
		return conns, nil
	}
	for _, conn := range conns {
		if conn != nil {
			conn.CloseNow()
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if first == nil || errors.Is(first, context.DeadlineExceeded) {
		first = fmt.Errorf("%s: no more within --timeout %v", t.dialer.url, t.dialer.timeout)
	}
	if n > 0 {
		first = fmt.Errorf("%d of %d connections opened, then: %w", n, t.conns, first)
	}
	return nil, &exitError{exitPeer, first}
}

// watch waits until the test is over: its time is up and all replies are there,
// or their time is up too, or the test has no sense.
func (t *loadTest) watch(ctx context.Context, env *Env, report *loadTestReport, all <-chan struct{}) error {
	var once sync.Once
	halt := func() { once.Do(func() { t.stopped = time.Now(); close(t.stop) }) }
	defer halt()
	over := time.NewTimer(t.duration)
	defer over.Stop()
	firstReply := time.NewTimer(t.replyTimeout)
	defer firstReply.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var last <-chan time.Time
	sendingEnds := func() {
		halt()
		if last == nil {
			timer := time.NewTimer(t.replyTimeout)
			last = timer.C // it is collected when nobody waits for it
		}
	}
	for {
		select {
		case <-all:
			return nil
		case <-over.C:
			sendingEnds()
		case <-last:
			return nil
		case <-firstReply.C:
			if t.replies.Load() == 0 {
				report.silent = true
				return nil
			}
		case <-second.C:
			if t.progress != nil {
				var now loadTestReport
				t.sum(&now)
				now.elapsed = time.Since(t.start)
				t.progress(now)
			}
		case <-env.Signals:
			if report.signaled {
				return errStopped
			}
			report.signaled = true
			sendingEnds()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sum adds up what the connections have counted.
func (t *loadTest) sum(r *loadTestReport) {
	r.sent, r.replies, r.unsent, r.unasked, r.lost = t.sent.Load(), t.replies.Load(), t.unsent.Load(), t.unasked.Load(), t.lost.Load()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		r.latency.Merge(&s.latency)
		r.late.Merge(&s.late)
		if !s.last.IsZero() {
			r.elapsed = max(r.elapsed, s.last.Sub(t.start))
		}
		s.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.reasons = map[string]int{}
	for reason, n := range t.reasons {
		r.reasons[reason] = n
	}
}

// cut ends all connections, with a closing handshake if the server deserves one.
func cut(conns []*websocket.Conn, politely bool, giveUp *atomic.Bool) {
	giveUp.Store(true)
	var closing sync.WaitGroup
	for _, conn := range conns {
		closing.Go(func() { // ends within 10 s, which the library grants the server
			if politely {
				conn.Close(websocket.StatusNormalClosure, "")
			} else {
				conn.CloseNow()
			}
		})
	}
	closing.Wait()
}

// loadConn is one connection of a test.
type loadConn struct {
	test     *loadTest
	conn     *websocket.Conn
	i        int
	shard    *latencyShard
	answered func()        // nothing more will be sent, and the replies are there or will never be
	sent     atomic.Uint64 // counted before each write: its reply may overtake it
	taken    atomic.Uint64 // replies; written by the reader only
	sentAll  atomic.Bool   // sent has its last value
}

// run serves the connection until it is closed.
func (c *loadConn) run() {
	defer c.answered()
	if c.test.rate == 0 {
		c.runClosed()
		return
	}
	var sending sync.WaitGroup
	sending.Go(c.runSender) // ends with stop, or with conn
	c.runReader()
	sending.Wait()
}

// due is when the connection's j-th message is to be sent.
func (c *loadConn) due(j uint64) time.Time {
	k := float64(j)*float64(c.test.conns) + float64(c.i)
	return c.test.start.Add(time.Duration(k / c.test.rate * float64(time.Second)))
}

// runSender sends at the connection's share of the rate until the test stops.
func (c *loadConn) runSender() {
	defer func() {
		c.sentAll.Store(true)
		if c.taken.Load() >= c.sent.Load() {
			c.answered() // the reader may wait for a message that nobody will send
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for j := uint64(0); ; j++ {
		due := c.due(j)
		if !c.waitFor(due, timer) {
			return
		}
		late := time.Since(due)
		if !c.write() {
			c.leave(j + 1)
			return
		}
		c.shard.wrote(late)
	}
}

// waitFor waits until it is time; false when the test has stopped before. What
// was due is sent even after the end.
func (c *loadConn) waitFor(due time.Time, timer *time.Timer) bool {
	if due.Sub(c.test.start) >= c.test.duration {
		<-c.test.stop
		return false
	}
	if wait := time.Until(due); wait > 0 {
		timer.Reset(wait)
		select {
		case <-timer.C:
			return true
		case <-c.test.stop:
			return !due.After(c.test.stopped)
		}
	}
	select {
	case <-c.test.stop:
		return !due.After(c.test.stopped)
	default:
		return true
	}
}

// leave counts what was due from the j-th message on and has not left, because
// the server did not read. A lost connection counts once, as that.
func (c *loadConn) leave(j uint64) {
	if !c.test.giveUp.Load() {
		return
	}
	end := min(c.test.stopped.Sub(c.test.start), c.test.duration-1)
	if first := c.due(j).Sub(c.test.start); first <= end {
		interval := float64(c.test.conns) / c.test.rate
		c.test.unsent.Add(1 + uint64((end-first).Seconds()/interval))
	}
}

// runReader takes the replies until the connection ends. The j-th is that to the
// j-th message, so nobody needs to remember when that was sent.
func (c *loadConn) runReader() {
	for c.read() {
		taken := c.taken.Load()
		if taken >= c.sent.Load() {
			c.test.unasked.Add(1)
			continue
		}
		c.shard.reply(c.due(taken))
		c.test.replies.Add(1)
		c.taken.Store(taken + 1)
		if c.sentAll.Load() && taken+1 >= c.sent.Load() {
			c.answered()
		}
	}
	c.answered()
}

// runClosed sends a message when the reply to the last has come.
func (c *loadConn) runClosed() {
	for {
		select {
		case <-c.test.stop:
			return
		default:
		}
		began := time.Now()
		c.write()
		if !c.read() {
			return
		}
		c.shard.reply(began)
		c.test.replies.Add(1)
	}
}

func (c *loadConn) write() bool {
	c.sent.Add(1)
	c.test.sent.Add(1)
	err := c.conn.Write(context.Background(), c.test.kind, c.test.message)
	return err == nil // a read tells what has happened, or run cut it off
}

// read takes one message off the connection.
func (c *loadConn) read() bool {
	_, r, err := c.conn.Reader(context.Background())
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err == nil {
		return true
	}
	if !c.test.giveUp.Load() {
		c.test.lose(err)
	}
	return false
}

// lose notes a connection that has ended by itself.
func (t *loadTest) lose(err error) {
	t.lost.Add(1)
	code, reason, _ := closeOf(err)
	text := fmt.Sprintf("closed %d (%s)", code, closeName(code))
	if reason != "" {
		text += ": " + printable(reason)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.reasons[text]; known || len(t.reasons) < maxReasons {
		t.reasons[text]++
	} else {
		t.reasons["for other reasons"]++
	}
}

// maxReasons bounds what servers can make us remember: a reason is any text.
const maxReasons = 10
