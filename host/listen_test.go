package host

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/netpoll"
)

// reserveDoor is a door with a descriptor in reserve.
type reserveDoor struct {
	*door
	refuse error // what Refuse fails with
	told   []string
}

func (d *reserveDoor) Refuse(answer []byte) error {
	switch {
	case d.refuse != nil:
		return d.refuse
	case len(d.backlog) == 0:
		return netpoll.ErrWouldBlock
	}
	d.backlog = d.backlog[1:]
	d.told = append(d.told, string(answer))
	return nil
}

func TestWithoutDescriptorsTheReserveAnswers(t *testing.T) {
	l := newLab(t)
	d, a := l.door()
	r := &reserveDoor{door: d}
	a.ln = r
	l.queue(d, 3)
	for range 100 {
		d.errs = append(d.errs, syscall.EMFILE)
	}
	a.Ready(netpoll.Readable)
	l.settle()
	if len(r.told) != 3 || !strings.HasPrefix(r.told[0], "HTTP/1.1 503 ") {
		t.Errorf("told: %q", r.told)
	}
	if st := l.srv.Stats(); st.Shed != 3 || st.Rejections["descriptors"] != 3 || st.AcceptErrors != 3 {
		t.Errorf("%d shed, %v, %d errors", st.Shed, st.Rejections, st.AcceptErrors)
	}
	before := d.accepts
	l.pass(time.Minute)
	if d.accepts != before {
		t.Errorf("it tried %d times although nobody waits", d.accepts-before)
	}

	// The reserve is gone too: a pause.
	r.refuse = syscall.EMFILE
	l.queue(d, 1)
	a.Ready(netpoll.Readable)
	if d.accepts != before+1 {
		t.Errorf("it tried %d times, want once", d.accepts-before)
	}
	d.errs = nil
	l.pass(acceptPauseMin + wheelTick)
	if n := l.srv.Stats().Accepted; n != 1 {
		t.Errorf("%d were accepted when there were descriptors again", n)
	}
	for _, w := range l.wires {
		w.mu.Lock()
		w.closed = true // the kernel's part
		w.mu.Unlock()
	}
	l.wires = l.wires[3:]
	l.wires[0].closed = false
	l.wires[0].reset()
	l.settle()
	l.close()
}

func TestAnAddressBindsTheFamilyThatItIsOf(t *testing.T) {
	for entry, want := range map[string]string{
		":8080": "tcp :8080", "0.0.0.0:8080": "tcp4 0.0.0.0:8080", "[::]:8080": "tcp6 [::]:8080",
		"localhost:1": "tcp localhost:1", "unix:/run/weir.sock": "unix /run/weir.sock", "[::1]:0": "tcp [::1]:0",
	} {
		network, address := networkOf(entry)
		if got := network + " " + address; got != want {
			t.Errorf("%s binds %s, want %s", entry, got, want)
		}
	}
	w := start(t, func(s *setup) { s.opts.Server.Listen = []string{"[::]:0"} })
	_, port, _ := net.SplitHostPort(w.addr)
	w.close()
	w = start(t, func(s *setup) { s.opts.Server.Listen = []string{"0.0.0.0:" + port, "[::]:" + port} })
	for _, addr := range []string{"127.0.0.1:" + port, "[::1]:" + port} {
		w.addr = addr
		c := w.dial("/")
		if got := c.ask("attr remote_addr"); got != c.ws.LocalAddr().String() {
			t.Errorf("over %s the peer is %s, want %s", addr, got, c.ws.LocalAddr())
		}
	}
}

func TestAUnixSocketServesAsAnAddressDoes(t *testing.T) {
	path := t.TempDir() + "/weir.sock"
	listening := func(s *setup) {
		s.opts.Server.Listen = []string{"unix:" + path}
		s.opts.Server.UnixMode = "0660"
		s.opts.Server.TrustedProxies = []string{"unix"}
	}
	stale, err := net.Listen("unix", path) // of a server that was killed
	check(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	check(t, stale.Close())
	start(t, listening)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("its file: %v, %v", info, err)
	}
	for _, tc := range []struct{ head, want string }{
		{upgradeHead, ""},
		{strings.Replace(upgradeHead, "\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n", 1), "192.0.2.7"},
	} {
		conn, err := net.Dial("unix", path)
		check(t, err)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		c := &rawClient{t: t, Conn: conn}
		c.send(tc.head)
		c.head()
		c.send(frame(0x81, "attr remote_addr;echo end"))
		if got := readText(t, conn, len(textFrame(tc.want)+textFrame("end"))); got != textFrame(tc.want)+textFrame("end") {
			t.Errorf("it heard %q", got)
		}
		conn.Close()
	}
}

func TestListenOptionsAreChecked(t *testing.T) {
	for mode, ok := range map[string]bool{"": true, "0660": true, "600": true, "0": false, "0888": false, "01777": false, "rw": false} {
		o := Options{Server: ServerOptions{UnixMode: mode}}
		if err := o.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", mode, err)
		}
	}
	o := Options{WebSocket: WebSocketOptions{PingInterval: 10 * time.Second, PongTimeout: 5 * time.Second}}
	if got := newSettings(o).ListenOptions().UserTimeout; got != 15*time.Second {
		t.Errorf("tcp_user_timeout is %v, want that of a ping and its pong", got)
	}
}

// readText reads n bytes.
func readText(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	check(t, err)
	return string(p)
}
