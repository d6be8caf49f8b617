package cli

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/internal/certtest"
)

const secureSite = `server: {tls: {cert: cert.pem, key: key.pem}}
modules: {chat: {path: chat.wasm}}
routes: [{path: '/{path...}', module: chat}]
`

// serveTLS serves a folder with weir.yaml, a module and a certificate.
func serveTLS(t *testing.T, ca *certtest.Authority, config string) (s *server, folder string, hangups chan os.Signal) {
	t.Helper()
	folder = t.TempDir()
	first, _ := versions(t)
	write(t, filepath.Join(folder, "chat.wasm"), first)
	write(t, filepath.Join(folder, "weir.yaml"), []byte(config))
	certtest.Write(t, folder, ca.Issue("first"))
	s, hangups = serveFile(t, "--config", filepath.Join(folder, "weir.yaml"))
	if !strings.HasPrefix(s.url, "https://") {
		t.Errorf("it says that it listens on %s", s.url)
	}
	return s, folder, hangups
}

// dialTLS opens a WebSocket and says whose certificate it was shown.
func dialTLS(t *testing.T, ca *certtest.Authority, s *server) (ws *websocket.Conn, subject string) {
	t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	ws, _, err := dialer.Dial("wss"+strings.TrimPrefix(s.url, "https")+"/", nil)
	must(t, err)
	t.Cleanup(func() { ws.Close() })
	must(t, ws.SetReadDeadline(time.Now().Add(patience)))
	return ws, ws.NetConn().(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestAServerShowsACertificateThatWasReplaced(t *testing.T) {
	ca := certtest.New(t)
	s, folder, hangups := serveTLS(t, ca, secureSite)
	old, subject := dialTLS(t, ca, s)
	if subject != "first" {
		t.Errorf("it shows %q", subject)
	}
	reloads := 0
	shows := func(want string) {
		t.Helper()
		reloads++
		s.stderr.waitFor(t, "certificate files reloaded", reloads)
		ws, subject := dialTLS(t, ca, s)
		if subject != want {
			t.Errorf("it shows %q, want %q", subject, want)
		}
		echo(t, ws, "on a new one")
		echo(t, old, "on the old one")
		ws.Close()
	}
	certtest.Write(t, folder, ca.Issue("second"))
	shows("second")

	next := t.TempDir() // renamed over, as certbot's successors do
	certtest.Write(t, next, ca.Issue("third"))
	must(t, os.Rename(filepath.Join(next, "key.pem"), filepath.Join(folder, "key.pem")))
	line := s.stderr.wait(t, "the certificate's files cannot be used; the old ones stay")
	if !strings.Contains(line, "server.tls.cert: ") {
		t.Errorf("it says %q", line)
	}
	if _, subject := dialTLS(t, ca, s); subject != "second" {
		t.Errorf("with half a pair it shows %q", subject)
	}
	must(t, os.Rename(filepath.Join(next, "cert.pem"), filepath.Join(folder, "cert.pem")))
	shows("third")

	write(t, filepath.Join(folder, "weir.yaml"), []byte(secureSite+"reload: signal\n"))
	s.stderr.wait(t, "configuration reloaded")
	certtest.Write(t, folder, ca.Issue("fourth"))
	hangups <- syscall.SIGHUP
	shows("fourth")
	old.Close()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
}

func TestAServerWithoutItsCertificateDoesNotStart(t *testing.T) {
	module, _ := filepath.Abs(echoModule)
	for want, set := range map[string][]string{
		"server.tls.key: is missing":                {"server.tls.cert=cert.pem"},
		"none.pem: no such file or directory":       {"server.tls.cert=none.pem", "server.tls.key=none.key"},
		"server.tls.client_ca: is missing":          {"server.tls.cert=a", "server.tls.key=b", "server.tls.client_auth=require"},
		`server.tls.autocert.cache_dir: is missing`: {"server.tls.autocert.domains=chat.example.com"},
	} {
		args := []string{"serve", "--listen", "127.0.0.1:0", module}
		for _, s := range set {
			args = append(args, "--set", s)
		}
		code, _, stderr := command(t, Env{ReadFile: os.ReadFile}, args...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, %q", set, code, stderr)
		}
	}
}

func TestClientsOfATLSServer(t *testing.T) {
	ca, clients := certtest.New(t), certtest.New(t)
	folder := t.TempDir()
	s, _, _ := serveTLS(t, ca, strings.Replace(secureSite, "key: key.pem", "key: key.pem, client_auth: require, client_ca: '"+clients.WriteCA(folder)+"'", 1))
	cert, key := certtest.Write(t, folder, clients.Issue("a client"))
	theirs := certtest.New(t).WriteCA(t.TempDir())
	own := ca.WriteCA(t.TempDir())
	url := "wss" + strings.TrimPrefix(s.url, "https") + "/"
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--ca", own, "--cert", cert, "--key", key}, 0, ""},
		{[]string{"--insecure", "--cert", cert, "--key", key}, 0, ""},
		{[]string{"--ca", own}, 5, "certificate required"},
		{[]string{"--ca", theirs, "--cert", cert, "--key", key}, 5, "its certificate is not trusted"},
		{[]string{"--ca", own, "--cert", cert}, 2, "--cert and --key belong together"},
		{[]string{"--ca", key}, 2, "it holds no certificate in PEM"},
		{[]string{"--ca", "none.pem"}, 2, "--ca: open none.pem"},
	} {
		args := append([]string{"bench", url, "--conns", "2", "--for", "10ms"}, tc.args...)
		code, _, stderr := command(t, Env{ReadFile: os.ReadFile}, args...)
		if code != tc.code || !strings.Contains(stderr, tc.says) {
			t.Errorf("%q: exit code %d, %q", tc.args, code, stderr)
		}
	}
	s.stop()
}
