package scenario

import (
	"fmt"
	"time"

	"weir/internal/sim"
)

// expect is what some clients are to hear, each in order. They are waited for
// together.
type expect struct{ clients []expectation }

type expectation struct {
	client  string
	matches []match
}

func (e expect) do(r *runner, at *placed) *Failure {
	all := make([]*listening, len(e.clients))
	for i, x := range e.clients {
		all[i] = &listening{peer: r.peers[x.client], name: x.client, left: x.matches, since: r.w.Now()}
	}
	var failure *Failure
	poll := func() (changed bool) {
		for _, l := range all {
			moved, f := l.listen(r, at)
			if changed = changed || moved; f != nil {
				failure = f
				return true
			}
		}
		return changed
	}
	for {
		poll()
		var next *listening // whose time is over first
		for _, l := range all {
			if len(l.left) > 0 && (next == nil || l.deadline() < next.deadline()) {
				next = l
			}
		}
		switch {
		case failure != nil:
			return failure
		case next == nil:
			return nil
		case r.ctx.Err() != nil:
			return r.fail(at, next.want(), "the run was cut short", next.name)
		}
		wait := next.deadline() - r.w.Now()
		if wait < 0 || !r.await(wait, poll) {
			if err := r.w.Err(); err != nil {
				return nil // steps tells it
			}
			return next.late(r, at)
		}
	}
}

// listening is one client with what it still is to hear.
type listening struct {
	*peer
	name  string
	left  []match
	taken []sim.Message // of the first of left: for any_order and count
	since time.Duration // when its time began
}

func (l *listening) deadline() time.Duration { return l.since + l.left[0].within }

// want says what the client is to hear now.
func (l *listening) want() string {
	m := l.left[0]
	s := l.name + ": " + m.String()
	if m.count > 1 {
		s += fmt.Sprintf(", message %d of %d", len(l.taken)+1, m.count)
	}
	return s
}

// listen takes what has come as far as it is expected.
func (l *listening) listen(r *runner, at *placed) (moved bool, _ *Failure) {
	l.pull()
	for len(l.left) > 0 {
		m := l.left[0]
		switch {
		case m.kind == "status" || m.kind == "protocol":
			if l.Status() == 0 && !l.Ended() {
				return moved, nil
			}
			if f := l.answer(r, at, m); f != nil {
				return true, f
			}
			l.done(r)
		case len(l.heard) > 0:
			got := l.heard[0]
			l.heard = l.heard[1:]
			if f := l.message(r, at, m, got); f != nil {
				return true, f
			}
		case l.Closed() == nil && !l.Ended():
			return moved, nil
		case m.kind == "close" && m.closes(l.Client):
			l.ended = true
			l.done(r)
		default:
			return true, r.fail(at, l.want(), showEnd(l.Client), l.name)
		}
		moved = true
	}
	return moved, nil
}

// done ends the wait for the first match.
func (l *listening) done(r *runner) { l.left, l.taken, l.since = l.left[1:], nil, r.w.Now() }

func (l *listening) answer(r *runner, at *placed, m match) *Failure {
	if m.kind == "status" {
		if l.Status() == m.status {
			return nil
		}
		return r.fail(at, l.want(), showStatus(l.peer), l.name)
	}
	if !l.Opened() {
		return r.fail(at, l.want(), showStatus(l.peer), l.name)
	}
	if got := l.Header().Get("Sec-WebSocket-Protocol"); got != m.text {
		return r.fail(at, l.want(), fmt.Sprintf("protocol %q", got), l.name)
	}
	return nil
}

// message holds one message against m.
func (l *listening) message(r *runner, at *placed, m match, got sim.Message) *Failure {
	if m.kind == "close" {
		return r.fail(at, l.want(), show(got), l.name)
	}
	if m.kind == "any_order" {
		if l.taken = append(l.taken, got); !m.assign(l.taken) {
			f := r.fail(at, l.want(), show(got)+fmt.Sprintf(", message %d of them", len(l.taken)), l.name)
			return f
		}
		if len(l.taken) == len(m.parts) {
			l.done(r)
		}
		return nil
	}
	if ok, diff := m.takes(got); !ok {
		f := r.fail(at, l.want(), show(got), l.name)
		f.Diff = diff
		return f
	}
	l.since = r.w.Now() // each of several has the same time
	if l.taken = append(l.taken, got); len(l.taken) == m.count {
		l.done(r)
	}
	return nil
}

// late is the failure of a client that has not heard enough in time.
func (l *listening) late(r *runner, at *placed) *Failure {
	got := "nothing"
	if n := len(l.taken); n > 0 && l.left[0].kind == "any_order" {
		got = fmt.Sprintf("%d of %d messages", n, len(l.left[0].parts))
	}
	return r.fail(at, l.want(), fmt.Sprintf("%s within %v", got, l.left[0].within), l.name)
}
