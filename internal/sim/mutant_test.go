package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/host"
)

// A simulator that finds nothing proves nothing. Each mutant below is a mistake
// that a server could make, brought about from outside at a seam; some seed out
// of a few must find it.
func TestMutantsAreFound(t *testing.T) {
	for _, m := range []struct {
		name   string
		mutate func(*Profile)
		want   []string // oracles, one of which must speak
	}{
		{"a socket that is not armed for writing is noticed", wrapped(func(s *socket) host.Socket { return &unarmed{socket: s} }),
			[]string{"a frame comes whole", "a connection ends for a reason", "every message is answered", "the close code tells the reason", "liveness"}},
		{"a lost wake-up to read is noticed", wrapped(func(s *socket) host.Socket { return &deafened{socket: s} }),
			[]string{"a frame comes whole", "a connection ends for a reason", "every message is answered", "liveness", "a request is answered"}},
		{"reading less than all is noticed", wrapped(func(s *socket) host.Socket { return &hasty{socket: s} }),
			[]string{"a frame comes whole", "a connection ends for a reason", "every message is answered", "liveness", "a request is answered"}},
		{"a second Close frame is noticed", wrapped(func(s *socket) host.Socket { return &stammering{socket: s} }),
			[]string{"the protocol"}},
		{"a lost Close frame is noticed", wrapped(func(s *socket) host.Socket { return &abrupt{socket: s} }),
			[]string{"a connection ends with a Close frame", "a connection ends for a reason"}},
		{"frames in the wrong order are noticed", wrapped(func(s *socket) host.Socket { return &swapping{socket: s} }),
			[]string{"messages are answered in order", "publishes come in order and without a gap", "the protocol"}},
		{"a frame written twice is noticed", wrapped(func(s *socket) host.Socket { return &repeating{socket: s} }),
			[]string{"messages are answered in order", "publishes come in order and without a gap", "a timer fires once", "close is told exactly once", "a publish reaches members"}},
		{"a socket that is never closed is noticed", wrapped(func(s *socket) host.Socket { return &leaking{socket: s} }),
			[]string{"every connection ends", "liveness", "close is told exactly once"}},
		{"two readers of one socket are noticed", wrapped(func(s *socket) host.Socket { return &crowded{socket: s} }),
			[]string{"one connection, one owner"}},
		{"effects that hold although the handler fails are noticed", func(p *Profile) { p.mutate = effectsAnyway },
			[]string{"effects are all or nothing", "the close code tells the reason"}},
		{"a message that counts twice is noticed", swapped("total 1", "total 2"), []string{"an instance keeps what it knows"}},
		{"an instance that forgets is noticed", swapped("total 1", "total -1"), []string{"an instance keeps what it knows"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			p := testProfile()
			m.mutate(&p)
			const tries = 60
			for seed := uint64(1); seed <= tries; seed++ {
				err := Run(seed, p)
				var v *Violation
				if err == nil || !errors.As(err, &v) {
					continue
				}
				if !slices.Contains(m.want, v.Oracle) {
					t.Fatalf("the mutant was found by %q, want one of %q:\n%v", v.Oracle, m.want, err)
				}
				return
			}
			t.Errorf("%d seeds have not found the mutant", tries)
		})
	}
}

// swapped plays runs whose code changes, with messages that say something else.
func swapped(old, new string) func(*Profile) {
	return func(p *Profile) {
		p.Swaps = true
		p.mutate = func(script string) string { return strings.ReplaceAll(script, old, new) }
	}
}

func wrapped(wrap func(*socket) host.Socket) func(*Profile) {
	return func(p *Profile) { p.wrap = wrap }
}

// unarmed swallows the first WantWrite: re-arming was forgotten once.
type unarmed struct {
	*socket
	done bool
}

func (u *unarmed) WantWrite(on bool) error {
	if on && !u.done && !u.calm {
		u.done = true
		return nil
	}
	return u.socket.WantWrite(on)
}

// deafened loses every eighth report of readiness.
type deafened struct {
	*socket
	to host.Handler
	n  int
}

func (d *deafened) Start(h host.Handler) error {
	d.to = h
	return d.socket.Start(d)
}

func (d *deafened) Ready(ev host.Event) {
	if d.n++; d.n%8 != 0 || d.calm {
		d.to.Ready(ev)
	}
}

// hasty says that the socket is dry when it is not.
type hasty struct{ *socket }

func (h *hasty) Read(p []byte) (int, error) { return h.socket.Read(p[:min(len(p), 64)]) }

// stammering writes a Close frame twice.
type stammering struct{ *socket }

func (s *stammering) Write(p []byte) (int, error) {
	n, err := s.socket.Write(p)
	if end := closeFrameAt(p[:n]); end >= 0 {
		_, _ = s.socket.Write(p[end:n])
	}
	return n, err
}

// abrupt says that it has written a Close frame, and has not.
type abrupt struct{ *socket }

func (a *abrupt) Write(p []byte) (int, error) {
	if end := closeFrameAt(p); end >= 0 {
		n, err := a.socket.Write(p[:end])
		if n == end && err == nil {
			n = len(p)
		}
		return n, err
	}
	return a.socket.Write(p)
}

// closeFrameAt is where a Close frame begins that ends p, or -1.
func closeFrameAt(p []byte) int {
	for i := 0; i < len(p); {
		op, _, _, n, err := parseServerFrame(p[i:])
		if err != nil || n == 0 {
			return -1
		}
		if op == Close && i+n == len(p) {
			return i
		}
		i += n
	}
	return -1
}

// swapping writes the first two of three frames or more in the wrong order.
type swapping struct{ *socket }

func (s *swapping) Write(p []byte) (int, error) {
	_, _, _, first, err := parseServerFrame(p)
	if err != nil || first == 0 {
		return s.socket.Write(p)
	}
	_, _, _, second, err := parseServerFrame(p[first:])
	if err != nil || second == 0 {
		return s.socket.Write(p)
	}
	swapped := append(append(append([]byte(nil), p[first:first+second]...), p[:first]...), p[first+second:]...)
	return s.socket.Write(swapped)
}

// repeating writes some text frames twice.
type repeating struct {
	*socket
	n int
}

func (r *repeating) Write(p []byte) (int, error) {
	n, err := r.socket.Write(p)
	if op, _, _, size, bad := parseServerFrame(p); bad == nil && op == Text && size == len(p) && n == size {
		if r.n++; r.n == 3 {
			_, _ = r.socket.Write(p)
		}
	}
	return n, err
}

// leaking forgets to close.
type leaking struct{ *socket }

func (l *leaking) Close() error {
	if l.id == 5 {
		return nil
	}
	return l.socket.Close()
}

// crowded reads from within a write, as a second owner would.
type crowded struct{ *socket }

func (c *crowded) Read(p []byte) (int, error) {
	if c.id == 5 {
		c.reading = true
	}
	return c.socket.Read(p)
}

// effectsAnyway makes handlers succeed that were to fail.
func effectsAnyway(script string) string {
	for n := range 10 {
		script = strings.TrimSuffix(script, fmt.Sprintf(";fail %d", n))
	}
	return strings.TrimSuffix(script, ";trap")
}
