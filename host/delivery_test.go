package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/netpoll"
	"weir/pool"
)

// rival plays everybody who may touch one connection's output at once: while
// its socket's Write is under way others queue frames, report room, ask for the
// close. One goroutine does all of it, one inside the other, where the write
// path has let go of its lock.
type rival struct {
	rt *rapid.T
	l  *lab
	c  *labClient

	depth    int
	inShard  bool // the poller's goroutine is up the stack
	inWheel  bool
	unwanted []func() // flushes that a publisher has not come to yet

	queued  []string // accepted by enqueue, in order
	said    int      // messages sent by the client
	broken  bool     // the connection was reset
	closing bool     // somebody asked for the close
	slow    bool     // it was, or may have been, too slow
	tight   bool     // replies, too, may have found the queue full
}

func (r *rival) actions() map[string]func() {
	return map[string]func(){
		"queue a frame": func() {
			text := fmt.Sprintf("q%d %s", len(r.queued), strings.Repeat(".", rapid.SampledFrom([]int{0, 1, 40, 300, 1500}).Draw(r.rt, "size")))
			buf := pool.Take(frameBytes(len(text)))
			appendFrame(buf.B[:0], 1, []byte(text))
			switch r.c.conn.enqueue(buf) {
			case queuedMine:
				r.queued = append(r.queued, text)
				buf.Retain()
				r.unwanted = append(r.unwanted, func() { r.c.conn.send(buf, tag{}); buf.Release() })
			case queuedQuiet:
				r.queued = append(r.queued, text)
			case queuedFull:
				r.slow = true
				r.c.conn.tooSlow()
			}
			buf.Release()
		},
		"flush": func() {
			if len(r.unwanted) > 0 {
				f := r.unwanted[0]
				r.unwanted = r.unwanted[1:]
				f()
			}
		},
		"say": func() {
			r.c.say(fmt.Sprintf("echo s%d", r.said))
			r.said++
		},
		"ping":      func() { r.c.write(frame(0x89, "p")) },
		"poll":      r.poll,
		"work":      func() { r.l.tasks.step() },
		"stop":      func() { r.c.stop(rapid.IntRange(0, 3000).Draw(r.rt, "room")) },
		"give":      func() { r.c.give(rapid.IntRange(1, 2000).Draw(r.rt, "room")) },
		"open":      r.c.open,
		"nibble":    func() { r.c.bite = func(n int) int { return rapid.IntRange(0, n).Draw(r.rt, "bite") } },
		"swallow":   func() { r.c.bite = nil },
		"time":      r.time,
		"close":     r.close,
		"slow":      func() { r.slow = true; r.c.conn.tooSlow() },
		"reset":     func() { r.broken = true; r.c.reset() },
		"peer ends": func() { r.closing = true; r.c.write(frame(0x88, "")) },
	}
}

func (r *rival) poll() {
	if !r.inShard {
		r.inShard = true
		r.c.tell()
		r.inShard = false
	}
}

func (r *rival) time() {
	if !r.inWheel {
		r.inWheel = true
		r.slow = true // a write may have timed out
		r.l.clock.ns.Add(int64(rapid.SampledFrom([]time.Duration{20 * time.Millisecond, time.Second, 3 * time.Second, 6 * time.Second}).Draw(r.rt, "time")))
		r.l.srv.Advance()
		r.inWheel = false
	}
}

func (r *rival) close() {
	r.closing = true
	r.c.conn.askAndWake(closeInfo{code: 4000, cause: causeHandler})
}

// meanwhile is what happens while a call of the socket is under way.
func (r *rival) meanwhile() {
	if r.depth >= 3 {
		return
	}
	r.depth++
	defer func() { r.depth-- }()
	for range rapid.IntRange(0, 2).Draw(r.rt, "meanwhile") {
		r.act()
	}
}

// Ends are rare, so that most runs get somewhere first.
var rivalActions = []string{
	"queue a frame", "queue a frame", "queue a frame", "queue a frame", "flush", "flush", "flush", "say", "say", "ping", "poll", "poll", "poll",
	"work", "work", "work", "stop", "stop", "give", "give", "open", "nibble", "swallow",
	"queue a frame", "queue a frame", "queue a frame", "queue a frame", "flush", "flush", "flush", "say", "say", "ping", "poll", "poll", "poll",
	"work", "work", "work", "stop", "stop", "give", "give", "open", "nibble", "swallow",
	"time", "close", "slow", "reset", "peer ends",
}

func (r *rival) act() {
	r.actions()[rapid.SampledFrom(rivalActions).Draw(r.rt, "action")]()
}

// finish lets everybody do what is left to do.
func (r *rival) finish(deaf bool) {
	r.c.inWrite, r.c.inInterest, r.c.bite = nil, nil, nil
	for len(r.unwanted) > 0 {
		r.unwanted[0]()
		r.unwanted = r.unwanted[1:]
	}
	if !deaf {
		r.c.open()
	}
	r.l.settle()
}

func TestQueuedFramesLeaveInOrderWhateverTheSocketDoes(t *testing.T) {
	var l *lab
	rapid.Check(t, func(rt *rapid.T) {
		if l == nil {
			l = newLab(t, func(s *setup) {
				s.opts.WebSocket.WriteTimeout = 5 * time.Second
				s.opts.WebSocket.PingInterval = time.Hour
				s.opts.WebSocket.IdleTimeout = 2 * time.Hour
			})
			l.tenant("puppet").rule.Load().stable.pace.quick.Store(true)
		}
		used := l
		l = nil // a failure leaves it in any state
		limits := &used.srv.opts().WebSocket
		limits.OutboundQueueSize, limits.OutboundQueueMessages = 1<<20, 1<<10
		tight := rapid.Bool().Draw(rt, "tight queue")
		if tight {
			limits.OutboundQueueSize, limits.OutboundQueueMessages = 8<<10, 12
		}
		r := &rival{rt: rt, l: used, c: used.connect("/"), tight: tight}
		r.c.t = rt
		r.c.inWrite, r.c.inInterest = r.meanwhile, r.meanwhile
		for range rapid.IntRange(1, 60).Draw(rt, "actions") {
			r.act()
		}
		deaf := rapid.Bool().Draw(rt, "deaf in the end")
		r.finish(deaf)
		r.check(deaf)
		// In the end nothing is left. Whom the server has told to go, or who is too
		// slow, need not even do anything about it.
		if r.c.conn.phase == phaseOpen || !deaf {
			r.c.hangUp()
		}
		used.pass(10 * time.Second)
		r.checkGone()
		used.wires = used.wires[:0]
		l = used
	})
	if l != nil {
		l.close()
	}
}

func (r *rival) check(deaf bool) {
	rt := r.rt
	got := r.c.texts()
	var queued, said []string
	for _, text := range got {
		if text[0] == 'q' {
			queued = append(queued, text)
		} else {
			said = append(said, text)
		}
	}
	wantSaid := make([]string, r.said)
	for i := range wantSaid {
		wantSaid[i] = "s" + strconv.Itoa(i)
	}
	if !isPrefix(queued, r.queued) {
		rt.Fatalf("queued frames arrived as %q, they were %q", queued, r.queued)
	}
	if !isPrefix(said, wantSaid) {
		rt.Fatalf("replies arrived as %q", said)
	}
	if deaf || r.broken || r.slow || r.tight && r.c.end != nil && r.c.end.code == codeOverloaded {
		return
	}
	if len(queued) != len(r.queued) {
		rt.Fatalf("%d of %d queued frames arrived", len(queued), len(r.queued))
	}
	if r.closing {
		if r.c.end == nil {
			rt.Fatalf("the Close frame is missing")
		}
		return
	}
	if len(said) != r.said {
		rt.Fatalf("%d of %d replies arrived", len(said), r.said)
	}
	if r.c.end != nil {
		rt.Fatalf("closed with %v for no reason", *r.c.end)
	}
	c := r.c.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil || c.writing || c.blocked || c.sealed || c.dead {
		rt.Fatalf("after all is written: out %v writing %v blocked %v sealed %v dead %v", c.out, c.writing, c.blocked, c.sealed, c.dead)
	}
}

func (r *rival) checkGone() {
	if !r.c.gone() {
		r.rt.Fatalf("the connection is still there: phase %d", r.c.conn.phase)
	}
	for _, f := range r.c.faults {
		r.rt.Fatalf("%s", f)
	}
	st := r.l.srv.Stats()
	if st.Open != 0 || st.OutboundBytes != 0 || st.InboundBytes != 0 {
		r.rt.Fatalf("%d open, %d outbound, %d inbound", st.Open, st.OutboundBytes, st.InboundBytes)
	}
}

func isPrefix(p, of []string) bool { return len(p) <= len(of) && slices.Equal(p, of[:len(p)]) }

var _ = netpoll.Readable
