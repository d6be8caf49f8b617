package netpoll

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// owner is an echo server's connection with the state that the package
// documentation tells an owner to keep. It counts what must not happen.
type owner struct {
	srv   *churnServer
	sock  testSocket
	state atomic.Int32

	inReady, inTurn atomic.Int32

	out    []byte // the turn's: read and not yet written
	end    bool   // the client ended its stream, or wants us to
	detach bool   // the client wants to be served by Go's own poller
}

const (
	ownerIdle    = iota
	ownerQueued  // a turn will run
	ownerRunning // a turn runs
	ownerDirty   // a turn runs and another will
	ownerGone    // closed
)

// churnServer runs turns on a few workers, as the pool does.
type churnServer struct {
	ln      testListener
	queue   chan *owner // as long as there are connections
	alive   sync.WaitGroup
	workers sync.WaitGroup

	readies, turns, late atomic.Int64
	faults               chan string
}

func (o *owner) fault(format string, args ...any) {
	select {
	case o.srv.faults <- fmt.Sprintf(format, args...):
	default:
	}
}

func (o *owner) Ready(Event) {
	if n := o.inReady.Add(1); n != 1 {
		o.fault("%d calls of Ready at the same time", n)
	}
	defer o.inReady.Add(-1)
	o.srv.readies.Add(1)
	for {
		switch o.state.Load() {
		case ownerIdle:
			if o.state.CompareAndSwap(ownerIdle, ownerQueued) {
				o.srv.queue <- o
				return
			}
		case ownerRunning:
			if o.state.CompareAndSwap(ownerRunning, ownerDirty) {
				return
			}
		case ownerGone:
			o.srv.late.Add(1) // was on its way when the turn closed
			return
		default:
			return
		}
	}
}

// run is one turn.
func (o *owner) run(buf []byte) {
	if n := o.inTurn.Add(1); n != 1 {
		o.fault("%d turns at the same time", n)
	}
	o.srv.turns.Add(1)
	o.state.Store(ownerRunning)
	open := o.echo(buf)
	if !open {
		o.state.Store(ownerGone)
	}
	o.inTurn.Add(-1)
	switch {
	case !open:
		o.leave()
		o.srv.alive.Done()
	case !o.state.CompareAndSwap(ownerRunning, ownerIdle):
		o.state.Store(ownerQueued)
		o.srv.queue <- o
	}
}

func (o *owner) leave() {
	if o.detach {
		c, err := o.sock.Detach()
		if err != nil {
			o.fault("detach: %v", err)
			return
		}
		c.Write([]byte("detached"))
		c.Close()
	}
	if err := o.sock.Close(); err != nil {
		o.fault("close: %v", err)
	}
}

// echo reads and writes until both would block and reports whether the
// connection lives on.
func (o *owner) echo(buf []byte) bool {
	for {
		for len(o.out) > 0 {
			n, err := o.sock.Write(o.out)
			if errors.Is(err, ErrWouldBlock) {
				return o.sock.WantWrite(true) == nil // and reads no more meanwhile
			}
			if err != nil {
				return false
			}
			if o.out = o.out[n:]; len(o.out) == 0 {
				o.sock.WantWrite(false)
			}
		}
		if o.end {
			return false
		}
		n, err := o.sock.Read(buf)
		switch {
		case errors.Is(err, ErrWouldBlock):
			return true
		case errors.Is(err, io.EOF):
			o.end = true
		case err != nil:
			return false
		}
		o.out = append(o.out[:0], buf[:n]...)
		if n > 0 && buf[n-1] == 'Q' { // the client asks us to leave first
			o.end = true
		}
		if n > 0 && buf[n-1] == 'D' {
			o.end, o.detach = true, true
		}
	}
}

func (srv *churnServer) Ready(Event) {
	for {
		s, err := srv.ln.Accept()
		if err != nil {
			if !errors.Is(err, ErrWouldBlock) && !errors.Is(err, ErrClosed) {
				srv.faults <- "accept: " + err.Error()
			}
			return
		}
		srv.alive.Add(1)
		o := &owner{srv: srv, sock: s}
		if err := s.Start(o); err != nil {
			srv.faults <- "start: " + err.Error()
		}
	}
}

// client plays one short life and reports what went wrong.
func churnClient(network, address string, rnd *rand.Rand) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	tcp, _ := c.(*net.TCPConn)
	buf := make([]byte, 16<<10)
	echo := func(n int) error {
		for i := range buf[:n] {
			buf[i] = byte('a' + i%16)
		}
		sent := make(chan error, 1)
		if n > 1024 { // more than one segment: read while writing
			go func(p []byte) { _, err := c.Write(p); sent <- err }(append([]byte(nil), buf[:n]...))
		} else {
			_, err := c.Write(buf[:n])
			sent <- err
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return fmt.Errorf("echo of %d bytes: %w", n, err)
		}
		for i, b := range buf[:n] {
			if b != byte('a'+i%16) {
				return fmt.Errorf("byte %d of %d is wrong", i, n)
			}
		}
		return <-sent
	}
	for range rnd.IntN(4) {
		n := 1 + rnd.IntN(200)
		if rnd.IntN(8) == 0 {
			n = len(buf)
		}
		if err := echo(n); err != nil {
			return err
		}
	}
	switch rnd.IntN(6) {
	case 0: // leave politely
	case 1: // leave with a reset
		if tcp != nil {
			tcp.SetLinger(0)
		}
	case 2: // leave in the middle of an answer
		c.Write(buf)
	case 3: // half-close with bytes under way, and wait for them and the end
		if _, err := c.Write([]byte("tail")); err != nil {
			return err
		}
		c.(interface{ CloseWrite() error }).CloseWrite()
		if p, err := io.ReadAll(c); err != nil || string(p) != "tail" {
			return fmt.Errorf("after half-closing: %q, %w", p, err)
		}
	case 4: // the server leaves first
		if _, err := c.Write([]byte("Q")); err != nil {
			return err
		}
		if p, err := io.ReadAll(c); err != nil || string(p) != "Q" {
			return fmt.Errorf("after asking for the end: %q, %w", p, err)
		}
	case 5: // the server hands the connection on
		if _, err := c.Write([]byte("D")); err != nil {
			return err
		}
		if p, err := io.ReadAll(c); err != nil || string(p) != "Ddetached" {
			return fmt.Errorf("after asking for another server: %q, %w", p, err)
		}
	}
	return nil
}

// Thousands of connections opened, used and closed from both sides: every
// echo comes (no wake-up is lost), no turn overlaps (none is doubled), and
// nothing is left (descriptors, registrations, goroutines).
func TestChurn(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) { churn(t, open, network) })
		}
	})
}

func churn(t *testing.T, open func(Options) (testPoller, error), network string) {
	const (
		clients = 48 // at the same time
		workers = 4
	)
	lives := 60 // of each client, one after another
	if testing.Short() {
		lives = 5
	}
	before := openDescriptors(t)
	p, err := open(Options{Shards: 3})
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	ln, err := p.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &churnServer{ln: ln, queue: make(chan *owner, clients*lives), faults: make(chan string, 100)}
	for range workers {
		srv.workers.Go(func() { // ends when queue is closed below
			buf := make([]byte, 2048)
			for o := range srv.queue {
				o.run(buf)
			}
		})
	}
	if err := ln.Start(srv); err != nil {
		t.Fatal(err)
	}

	var playing sync.WaitGroup
	for i := range clients {
		playing.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range lives {
				if err := churnClient(network, ln.Addr().String(), rnd); err != nil {
					select {
					case srv.faults <- "client: " + err.Error():
					default:
					}
				}
			}
		})
	}
	playing.Wait()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	srv.alive.Wait() // hangs if a hang-up is lost
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	close(srv.queue)
	srv.workers.Wait()
	close(srv.faults)
	for f := range srv.faults {
		t.Error(f)
	}
	st := p.Stats()
	t.Logf("%d connections, %d turns, %d events, %d stale, %d late", clients*lives, srv.turns.Load(), st.Events, st.Stale, srv.late.Load())
	if st.Registered != 0 || st.Busy != 0 {
		t.Errorf("at the end: %+v", st)
	}
	if after := openDescriptors(t); len(after) > len(before) {
		t.Errorf("%d descriptors before, %d after: %v", len(before), len(after), after)
	}
}
