package host

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"time"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

const (
	// readerBytes is the size of the pooled readers: one recv takes as much, and
	// a frame that fits is handed to the guest without another copy.
	readerBytes = 16 << 10

	// A turn ends after that many messages or bytes, or that much time, so that a
	// busy peer does not keep a goroutine from the others; the lane goes to the
	// tail of the run queue. On the poller's own goroutine time is shorter.
	turnMessages   = 128
	turnBytes      = 256 << 10
	turnTime       = 5 * time.Millisecond
	turnTimeInline = time.Millisecond

	// ownFlushBytes is when replies are written before the turn ends.
	ownFlushBytes = 64 << 10
)

// turn is what a goroutine borrows while it has a lane: a reader over the
// connection's socket, the buffer of its replies, the record of the running
// invocation, and an instance once a handler is needed. There are as many as
// goroutines that run lanes at once.
type turn struct {
	srv    *Server
	conn   *Conn
	inline bool   // on the poller's goroutine
	bits   uint32 // what was posted, as far as it is not used up
	now    int64  // Mono ns at the turn's start
	watch  stopwatch

	src    source
	reader *bufio.Reader

	tails *tailSet  // that were open when the turn was borrowed; nil none
	picks tailPicks // who of them shows the message that the handler gets

	messages int
	bytes    int
	calls    int
	unjudged int // turns since the clock was looked at in the end

	crew     *crew // of inst
	inst     *runtime.Instance
	skipping bool     // events of this turn are left out (vSkip)
	moving   bool     // the instance is wanted to be replaced, not for an event
	trial    *breaker // that has let the next event through to see how it goes
	inv      invocation
	timed    *generation // whose times the next field has
	times    *turnTimes  // what this turn has counted of it
	untimed  uint64      // events since the last that was timed

	// own holds the connection's replies, encoded: own[:ownDone] are committed
	// and this turn will write them; what follows belongs to the invocation that
	// runs. claimed says that the turn has set Conn.writing.
	own     []byte
	ownDone int
	claimed bool

	rates   *rates // of the connection that is read; nil: not bounded
	request request
	upgrade upgrade

	number       uint32             // of all turns
	seen         [maxTails]tailSeen // by Tail.slot
	peeked       []byte             // how the message begins that picks show
	peekedBytes  int                // how long it is
	peekedBinary bool
	peekedAt     int64 // Mono ns

	stats turnStats
}

func newTurn(s *Server) *turn {
	t := &turn{srv: s}
	t.src.turn = t
	t.reader = bufio.NewReaderSize(&t.src, max(readerBytes, int(s.opts().Server.MaxHeaderSize)))
	t.inv.turn = t
	t.upgrade.bind(t)
	return t
}

// turnStore lends turns. Every turn ever made is kept for its counters.
type turnStore struct {
	mu   sync.Mutex
	free []*turn
	all  []*turn
}

func (ts *turnStore) borrow(s *Server) *turn {
	ts.mu.Lock()
	if n := len(ts.free); n > 0 {
		t := ts.free[n-1]
		ts.free = ts.free[:n-1]
		ts.mu.Unlock()
		t.tails = s.tails.set.Load()
		return t
	}
	t := newTurn(s)
	t.tails, t.number = s.tails.set.Load(), uint32(len(ts.all))
	ts.all = append(ts.all, t)
	ts.mu.Unlock()
	return t
}

func (ts *turnStore) giveBack(t *turn) {
	t.tails = nil
	ts.mu.Lock()
	ts.free = append(ts.free, t)
	ts.mu.Unlock()
}

// begin points t at c.
func (t *turn) begin(c *Conn, inline bool) {
	t.conn, t.inline, t.now = c, inline, t.srv.clock.Mono()
	t.watch = stopwatch{wall: t.now, cpu: -1}
	if inline && c.phase == phaseOpen {
		t.watch = c.crew().pace.start(t.now)
	}
	t.src.dry, t.src.void = false, false
	t.rates = nil
	t.skipping = false
	t.reader.Reset(&t.src)
	t.messages, t.bytes, t.calls = 0, 0, 0
	t.upgrade.picked, t.upgrade.responded = t.upgrade.picked[:0], t.upgrade.responded[:0]
}

// end writes what the turn has to write, keeps what it read too much, and gives
// the instance back.
func (t *turn) end() {
	c := t.conn
	t.flushOwn()
	if n := t.reader.Buffered(); n > 0 && c.phase != phaseDead {
		c.hold(t.reader)
	}
	t.settleTrial(false, false)
	if t.inst != nil {
		t.judge()
		t.crew.mod.Give(t.inst)
		t.inst, t.crew = nil, nil
	}
	t.conn = nil
	if cap(t.own) > 4*ownFlushBytes {
		t.own = nil
	}
}

// judge tells the generation's pace how long the turn took. A quick one's turns
// are looked at now and then: reading the clock takes 40 ns.
func (t *turn) judge() {
	const every = 4
	t.unjudged++
	if t.inline && t.watch.cpu < 0 && t.unjudged < every {
		return
	}
	t.judgeNow()
}

// judgeNow is judge for whom it must not pass over, such as a handler that
// failed, perhaps after a long time. What follows in the turn is a new matter.
func (t *turn) judgeNow() {
	t.unjudged = 0
	now := t.srv.clock.Mono()
	nanos, sure := t.watch.stop(now)
	sure = sure || t.inst.Spent() >= paceSureFuel
	t.crew.pace.note(nanos, sure, t.calls, t.inline, t.now)
	t.watch, t.calls = stopwatch{wall: now, cpu: -1}, 0
}

// spent reports that the lane's turn is over.
func (t *turn) spent() bool {
	if t.messages >= turnMessages || t.bytes >= turnBytes {
		return true
	}
	if t.messages > 0 && t.inst != nil && t.crew.ofCell() && t.crew.mod.Waited() {
		return true // who shares an instance is served in the order of coming
	}
	if t.messages&3 != 3 { // a look at the clock costs 25 ns
		return false
	}
	limit := turnTime
	if t.inline {
		limit = turnTimeInline
	}
	return t.srv.clock.Mono()-t.now > int64(limit)
}

// claim makes the turn the connection's writer, so that its replies can go out
// straight from own. It fails when frames of others wait already: then replies
// queue behind them. Frames thus leave in commit order.
func (t *turn) claim() bool {
	t.conn.mu.Lock()
	defer t.conn.mu.Unlock()
	return t.claimLocked()
}

// claimLocked is claim for who holds the connection's mu.
func (t *turn) claimLocked() bool {
	c := t.conn
	free := c.out == nil && !c.sealed && !c.dead && (t.claimed || !c.writing && !c.blocked)
	if free {
		c.writing = true
		t.claimed = true
	}
	return free
}

// flushOwn writes the committed replies in one system call and hands the right
// to write on to whoever queued frames meanwhile.
func (t *turn) flushOwn() {
	if !t.claimed {
		return
	}
	t.claimed = false
	c := t.conn
	p := t.own[:t.ownDone]
	var n int
	var err error
	if len(p) > 0 {
		n, err = c.sock.Write(p)
		t.stats.writes.Add(1)
		t.stats.bytesOut.Add(uint64(n))
	}
	t.own, t.ownDone = t.own[:0], 0

	c.mu.Lock()
	if failed(err) {
		c.breakLocked()
	} else if n < len(p) && !c.dead {
		rest := pool.Take(len(p) - n)
		copy(rest.B, p[n:])
		c.prependLocked(rest, 0, n > 0, tag{})
	}
	c.drainLocked()
}

// source is the reader's view of the socket: bytes that were held back first.
type source struct {
	turn *turn
	dry  bool // the socket had less than was asked for: the poller tells of more
	void bool // there was no TLS handshake: the bytes are not for us
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	c := s.turn.conn
	if c.held != nil {
		n := copy(p, c.held.B) // all: what was held came out of a reader of this size
		c.srv.inbound.Add(-int64(n))
		c.held.Release()
		c.held = nil
		return n, nil
	}
	n, err := c.sock.Read(p)
	if n > 0 {
		s.turn.bytes += n
		s.turn.stats.reads.Add(1)
		s.turn.stats.bytesIn.Add(uint64(n))
		c.lastHeard = s.turn.now
		c.pinged = false
		if r := s.turn.rates; r != nil {
			if rate := c.srv.opts().inbound.bytesASecond; rate > 0 {
				r.bytes.spend(s.turn.now, int64(n)*int64(time.Second)/rate)
			}
		}
	}
	switch {
	case err == nil:
		// A short read has emptied the socket. A FIN behind the bytes may share
		// their edge, though: after a hang-up read on to the end.
		s.dry = n < len(p) && !c.sawHangup
	case errors.Is(err, netpoll.ErrWouldBlock):
		s.dry = true
		c.sawHangup = false
	case errors.Is(err, errNoTLS):
		s.void = true // and not dry: what follows is thrown away
	default:
		s.dry = true
		c.peerGone = true
		switch {
		case errors.Is(err, io.EOF):
		case errors.Is(err, errProxyHeader):
			c.cut = true
			c.badProxyHeader(s.turn)
		default:
			c.cut = true
			s.turn.stats.resets.Add(1)
		}
	}
	return n, err
}

// fill reads once more from the socket; false when there is nothing to read now
// (or ever: Conn.peerGone).
func (t *turn) fill() bool {
	if t.src.dry && t.conn.held == nil {
		return false
	}
	before := t.reader.Buffered()
	_, err := t.reader.Peek(before + 1)
	return err == nil
}

// hold keeps what r has read but nobody has parsed yet.
func (c *Conn) hold(r *bufio.Reader) {
	n := r.Buffered()
	p, _ := r.Peek(n)
	kept := pool.Take(n)
	copy(kept.B, p)
	c.held = kept
	c.srv.inbound.Add(int64(n))
}
