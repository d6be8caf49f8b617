package host

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"weir/internal/certtest"
	"weir/netpoll"
)

// openssl is OpenSSL's client, which does what a line with a letter says.
type openssl struct {
	t   *testing.T
	in  io.Writer
	out io.Reader
	got []byte
}

func (s *secure) openssl(args ...string) *openssl {
	s.t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		s.t.Skip("openssl is missing")
	}
	cmd := exec.Command(program, append([]string{"s_client", "-connect", s.addr, "-CAfile", s.ca.WriteCA(s.t.TempDir()), "-verify_return_error"}, args...)...)
	o := &openssl{t: s.t}
	o.in, err = cmd.StdinPipe()
	check(s.t, err)
	r, w, err := os.Pipe() // for both, so that their order is kept
	check(s.t, err)
	cmd.Stdout, cmd.Stderr, o.out = w, w, r
	check(s.t, r.SetReadDeadline(time.Now().Add(20*time.Second)))
	check(s.t, cmd.Start())
	w.Close()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.Close()
	})
	return o
}

// do writes text and waits until what follows has part in it.
func (o *openssl) do(text, part string) {
	o.t.Helper()
	_, err := io.WriteString(o.in, text)
	check(o.t, err)
	for !bytes.Contains(o.got, []byte(part)) {
		buf := make([]byte, 4096)
		n, err := o.out.Read(buf)
		o.got = append(o.got, buf[:n]...)
		if err != nil {
			o.t.Fatalf("no %q: %v; it said\n%s", part, err, o.got)
		}
	}
	o.got = o.got[bytes.Index(o.got, []byte(part))+len(part):]
}

func TestOpenSSLMayWantNewKeys(t *testing.T) {
	s := startTLS(t)
	o := s.openssl("-tls1_3")
	o.do("", "Verify return code: 0 (ok)")
	o.do(upgradeHead, "Sec-WebSocket-Accept")
	for range 20 {
		o.do("K\n", "KEYUPDATE") // and of the server too
		o.do(frame(0x81, "echo with new keys"), "with new keys")
	}
}

// crypto/tls's own client cannot ask for it.
func TestRenegotiationIsRefused(t *testing.T) {
	s := startTLS(t)
	o := s.openssl("-tls1_2")
	o.do("", "Verify return code: 0 (ok)")
	o.do(upgradeHead, "Sec-WebSocket-Accept")
	o.do("R\n", "RENEGOTIATING")
	o.do("", "alert")
	s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 })
}

// What a peer makes the reading side write while it reads nothing itself, answers
// to requests for new keys, is bounded.
func TestRecordsThatWaitAreBounded(t *testing.T) {
	ca := certtest.New(t)
	cert, key := certtest.Write(t, t.TempDir(), ca.Issue("server"))
	l := newLab(t, func(s *setup) { s.opts.Server.TLS = TLSOptions{Cert: cert, Key: key} })
	full := l.wire()
	full.wide = false
	s := newTLSSocket(l.srv, full, l.srv.certs.Load().Config())
	s.shaking = nil
	s.state.Store(tlsOpen)
	s.h = nobody{}
	sent := 0
	for {
		n, err := tlsWire{s}.Write(make([]byte, 100))
		if err != nil {
			if !errors.Is(err, errTLSBacklog) {
				t.Errorf("it ends with %v", err)
			}
			break
		}
		if sent += n; sent > maxTLSBacklog {
			t.Fatalf("%d bytes wait", sent)
		}
	}
	if n := l.srv.outbound.Load(); n != int64(sent) || sent < maxTLSBacklog-100 {
		t.Errorf("%d bytes wait, %d are counted", sent, n)
	}
	full.mu.Lock()
	full.room = 1000
	full.mu.Unlock()
	s.Ready(netpoll.Writable)
	if n := l.srv.outbound.Load(); n != int64(sent-1000) {
		t.Errorf("%d bytes are counted after 1000 are gone", n)
	}
	check(t, s.Close())
	l.close()
}

type nobody struct{}

func (nobody) Ready(netpoll.Event) {}
