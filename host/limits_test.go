package host

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/netpoll"
	"weir/runtime"
)

// door is a Listener in memory: what Accept returns stands in a list.
type door struct {
	t        testing.TB
	backlog  []Socket
	errs     []error // come first
	inAccept func()
	accepts  int
	closed   bool
}

func (d *door) Start(netpoll.Handler) error { return nil }
func (d *door) Addr() net.Addr              { return &net.TCPAddr{} }

func (d *door) Close() error {
	if d.closed {
		d.t.Error("the listener was closed twice")
	}
	d.closed = true
	return nil
}

func (d *door) Accept() (Socket, error) {
	d.accepts++
	if f := d.inAccept; f != nil {
		d.inAccept = nil
		f()
	}
	switch {
	case len(d.errs) > 0:
		err := d.errs[0]
		d.errs = d.errs[1:]
		return nil, err
	case len(d.backlog) > 0:
		s := d.backlog[0]
		d.backlog = d.backlog[1:]
		return s, nil
	case d.closed:
		return nil, netpoll.ErrClosed
	default:
		return nil, netpoll.ErrWouldBlock
	}
}

// open gives the server a listener.
func (l *lab) door() (*door, *acceptor) {
	d := &door{t: l.t}
	a := &acceptor{srv: l.srv, ln: d}
	a.node.owner = a
	l.srv.acceptors = append(l.srv.acceptors, a)
	return d, a
}

// queue puts n clients into the backlog that have not said anything.
func (l *lab) queue(d *door, n int) (all []*labClient) {
	for range n {
		w := l.wire()
		d.backlog = append(d.backlog, w)
		all = append(all, &labClient{wire: w, t: l.t, lab: l})
	}
	return all
}

// refused reports that the server answered 503 and closed.
func (c *labClient) refused() bool {
	return c.gone() && strings.HasPrefix(string(c.take()), "HTTP/1.1 503 ")
}

func TestOneConnectionTooManyIsAnswered503(t *testing.T) {
	t.Run("max_connections", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.Server.MaxConnections = 3 })
		var open []*labClient
		for range 3 {
			open = append(open, l.connect("/"))
		}
		for range 3 {
			c := l.knock()
			if got := string(c.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: ") || !c.gone() {
				t.Fatalf("one too many was answered %q", got)
			}
		}
		if got := open[0].ask("echo I am here"); got != "I am here" {
			t.Error(got)
		}
		open[1].leave()
		l.connect("/")
		if !l.knock().refused() {
			t.Error("one place was free, two were given")
		}
		if st := l.srv.Stats(); st.Shed != 4 || st.Open != 3 || st.Accepted != 4 {
			t.Errorf("%d were shed, %d are open of %d", st.Shed, st.Open, st.Accepted)
		}
		l.close()
	})
	t.Run("max_handshakes", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.Server.MaxHandshakes = 2 })
		a, b := l.knock(), l.knock()
		if !l.knock().refused() {
			t.Error("a third handshake was begun")
		}
		a.write(upgradeHead)
		l.settle()
		a.upgraded()
		c := l.knock() // a's place
		if c.refused() || !l.knock().refused() {
			t.Error("an open connection still counts as a handshake, or counts twice")
		}
		b.write("no HTTP\r\n\r\n") // refused
		c.reset()
		l.settle()
		if n := l.srv.Stats().Handshakes; n != 0 {
			t.Errorf("%d handshakes are counted", n)
		}
		l.knock()
		l.knock()
		l.pass(6 * time.Second) // handshake_timeout
		if n := l.srv.Stats().Handshakes; n != 0 {
			t.Errorf("%d handshakes are counted after their time", n)
		}
		l.close()
	})
	t.Run("max_connections_per_ip", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.Server.MaxConnectionsPerIP = 2 })
		from := func(ip string) *labClient {
			w := l.wire()
			w.addr = netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(1000+len(l.wires)))
			l.srv.welcome(w)
			conn, _ := w.handler.(*Conn)
			return &labClient{wire: w, t: t, lab: l, conn: conn}
		}
		first, second := from("10.1.1.1"), from("10.1.1.1")
		if !from("10.1.1.1").refused() {
			t.Error("a third of one address was admitted")
		}
		if from("10.1.1.2").refused() || from("::1").refused() {
			t.Error("others were refused too")
		}
		first.reset()
		second.hangUp()
		l.settle()
		for range 2 {
			if from("10.1.1.1").refused() {
				t.Error("a place is not free again")
			}
		}
		if !from("10.1.1.1").refused() {
			t.Error("more places are free than there were")
		}
		for _, w := range l.wires {
			w.reset()
		}
		l.settle()
		if n := len(l.srv.perIP); n != 0 {
			t.Errorf("%d addresses are remembered although nobody is connected", n)
		}
		l.close()
	})
	t.Run("overload", func(t *testing.T) {
		l := newLab(t)
		open := l.connect("/")
		l.tasks.busy.Store(true)
		if !l.knock().refused() {
			t.Error("admitted while the run queue is too long")
		}
		if got := open.ask("echo still served"); got != "still served" {
			t.Error(got)
		}
		l.tasks.busy.Store(false)
		if l.knock().refused() {
			t.Error("still refused")
		}
		l.close()
	})
}

func TestAcceptingGoesOnUntilTheBacklogIsEmpty(t *testing.T) {
	const burst = 5*acceptsPerTurn + 3
	l := newLab(t)
	d, a := l.door()
	clients := l.queue(d, burst)
	a.Ready(netpoll.Readable)
	if n := l.srv.Stats().Accepted; n != acceptsPerTurn {
		t.Errorf("%d were accepted on the poller's goroutine, want one turn's %d", n, acceptsPerTurn)
	}
	l.settle()
	if n := l.srv.Stats().Accepted; n != burst {
		t.Errorf("%d of %d were accepted", n, burst)
	}
	// One that comes while the last Accept is under way.
	late := l.queue(d, 1)
	d.inAccept = func() {
		d.inAccept = func() {
			late = append(late, l.queue(d, 1)...)
			a.Ready(netpoll.Readable)
		}
	}
	a.Ready(netpoll.Readable)
	l.settle()
	if n := l.srv.Stats().Accepted; n != burst+2 {
		t.Errorf("%d of %d were accepted", n, burst+2)
	}
	for _, c := range append(clients, late...) {
		c.write(upgradeHead)
	}
	l.settle()
	for _, c := range append(clients, late...) {
		c.upgraded()
	}
	l.close()
	if !d.closed {
		t.Error("the listener is open")
	}
}

func TestAcceptErrorsPauseAndNeverEndIt(t *testing.T) {
	l := newLab(t)
	d, a := l.door()
	clients := l.queue(d, 1)
	want := acceptPauseMin
	for i, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, errors.New("odd"), syscall.EMFILE, syscall.EMFILE, syscall.EMFILE, syscall.EMFILE} {
		d.errs = append(d.errs, errno)
		if i == 0 {
			a.Ready(netpoll.Readable)
		} else {
			before, waited := d.accepts, time.Duration(0)
			for ; d.accepts == before && waited < time.Minute; waited += wheelTick {
				l.pass(wheelTick)
			}
			if waited < want || waited > want+2*wheelTick || d.accepts != before+1 {
				t.Fatalf("after error %d it tried %d times within %v, want once after %v", i, d.accepts-before, waited, want)
			}
			want = min(2*want, acceptPauseMax)
		}
	}
	if n := l.srv.Stats().AcceptErrors; n != 10 {
		t.Errorf("%d errors are counted", n)
	}
	l.pass(time.Second + wheelTick)
	if n := l.srv.Stats().Accepted; n != 1 {
		t.Fatal("the client that waited was not accepted when descriptors were free again")
	}
	clients[0].write(upgradeHead)
	l.settle()
	clients[0].upgraded()

	// After a success the pause is short again.
	d.errs = []error{syscall.EMFILE}
	l.queue(d, 1)
	a.Ready(netpoll.Readable)
	l.pass(acceptPauseMin + wheelTick)
	if n := l.srv.Stats().Accepted; n != 2 {
		t.Error("the pause is still long")
	}
	// Nothing is tried after the end.
	d.errs = []error{syscall.EMFILE, syscall.EMFILE}
	a.Ready(netpoll.Readable)
	l.close()
	l.pass(time.Minute)
	if len(d.errs) != 1 {
		t.Error("the listener is used after the server was closed")
	}
}

func TestAConnectionThatThePollerRefusesIsClosed(t *testing.T) {
	l := newLab(t)
	w := l.wire()
	w.startErr = errTest
	w.write(upgradeHead)
	l.srv.welcome(w)
	l.settle()
	if !w.gone() || l.srv.Stats().Open != 0 {
		t.Errorf("gone: %v, %d open", w.gone(), l.srv.Stats().Open)
	}
	l.close()
}

func TestAConnectionMayBeEndedWhileItIsAccepted(t *testing.T) {
	for _, said := range []string{"", upgradeHead, upgradeHead[:30]} {
		for _, when := range []string{"start", "read"} {
			l := newLab(t)
			w := l.wire()
			w.write(said)
			cut := func() {
				w.inRead, w.inStart = nil, nil
				l.srv.cutAll() // of another goroutine
				l.tasks.step()
				w.tell()
			}
			if when == "start" {
				w.inStart = cut
			} else {
				w.inRead = cut
			}
			l.srv.welcome(w)
			l.settle()
			l.pass(10 * time.Second)
			if !w.gone() {
				t.Errorf("%q, in %s: the connection stays", said, when)
			}
			l.close()
		}
	}
}

func TestNobodyIsAdmittedOnceTheServerCloses(t *testing.T) {
	l := newLab(t)
	d, a := l.door()
	clients := l.queue(d, 1)
	d.inAccept = func() { check(t, l.srv.Close()) } // nobody is there: it is quick
	a.Ready(netpoll.Readable)
	if !clients[0].refused() {
		t.Error("a client that was accepted while the server closed was let in")
	}
	l.close()
}

func TestServerCloseEndsWhoIsBeingAccepted(t *testing.T) {
	l := newLab(t)
	d, a := l.door()
	clients := l.queue(d, 1)
	clients[0].write(upgradeHead)
	done := make(chan struct{})
	var stop func()
	clients[0].inRead = func() { // it is admitted, and perhaps not in the table yet
		clients[0].inRead = nil
		stop = l.tasks.thread()
		l.srv.refusing.Store(true)
		go func() {
			defer close(done)
			check(t, l.srv.Close())
		}()
	}
	a.Ready(netpoll.Readable)
	<-done
	stop()
	if !clients[0].gone() {
		t.Error("it is still open")
	}
	l.close()
}

// TestTheLimitsHoldForRealSockets is the same through the kernel.
func TestTheLimitsHoldForRealSockets(t *testing.T) {
	w := start(t, func(s *setup) {
		s.opts.Server.MaxConnections = 10
		s.opts.Server.MaxConnectionsPerIP = 8
	})
	for round := range 3 {
		var open []*client
		for range 8 {
			open = append(open, w.dial("/"))
		}
		c := w.raw()
		got, err := io.ReadAll(c)
		if err == nil && !strings.HasPrefix(string(got), "HTTP/1.1 503 ") {
			t.Fatalf("round %d: one too many was answered %q", round, got)
		}
		for i, c := range open {
			c.want(c.echo("still served"))
			if i%2 == 0 {
				c.ws.Close()
			} else {
				c.say("close 4000")
				c.wantClose(4000)
				c.ws.Close()
			}
		}
		eventually(t, "their end", func() bool { return w.srv.Stats().Open == 0 })
	}
	if n := w.srv.Stats().Shed; n != 3 {
		t.Errorf("%d were shed", n)
	}
}

// What a handler passes may be as long as its memory: it is measured before
// anything else is done with it.
func TestLongArgumentsAreRefusedUnread(t *testing.T) {
	l := newLab(t)
	defer l.close()
	cl := &l.tenant("puppet").pool
	c := l.connect("/").conn
	turn := l.srv.turns.borrow(l.srv)
	defer l.srv.turns.giveBack(turn)
	long := make([]byte, 8<<20)
	for i := range long {
		long[i] = 0xFF // neither text nor a token
	}
	inv := &turn.inv
	begin := func(ev runtime.Event) {
		inv.begin(cl, c, ev)
		turn.own, turn.ownDone = turn.own[:0], 0
	}
	begin(runtime.EventText)
	id := uint64(c.id)
	if st := inv.ConnSend(id, 1, long); st != runtime.StatusTooBig {
		t.Errorf("conn_send: %v", st)
	}
	if st := inv.TopicPublish(long, 1, long, 0); st != runtime.StatusTooBig {
		t.Errorf("topic_publish: %v", st)
	}
	if st := inv.ConnClose(id, 1000, long); st != runtime.StatusTooBig {
		t.Errorf("conn_close: %v", st)
	}
	if n := testing.AllocsPerRun(10, func() {
		if _, st := inv.ConnAttr(id, long); st != runtime.StatusNotFound {
			t.Errorf("conn_attr: %v", st)
		}
	}); n != 0 {
		t.Errorf("conn_attr costs %v allocations", n)
	}
	begin(runtime.EventUpgrade)
	if _, st := inv.UpgradeHeader(long); st != runtime.StatusNotFound {
		t.Errorf("upgrade_header: %v", st)
	}
	if st := inv.UpgradeProtocol(long); st != runtime.StatusInvalid {
		t.Errorf("upgrade_protocol: %v", st)
	}
	if st := inv.UpgradeRespondHeader(long, long); st != runtime.StatusTooBig {
		t.Errorf("upgrade_respond_header: %v", st)
	}
	inv.rollBack()
}
