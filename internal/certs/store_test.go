package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/certtest"
)

// files are a pair and clients' authorities in a folder.
type files struct {
	t       *testing.T
	folder  string
	ca      *certtest.Authority
	options Options
}

func newFiles(t *testing.T) *files {
	f := &files{t: t, folder: t.TempDir(), ca: certtest.New(t)}
	f.options.Cert, f.options.Key = certtest.Write(t, f.folder, f.ca.Issue("first"))
	return f
}

func (f *files) open() *Store {
	f.t.Helper()
	s, err := Open(f.options, nil)
	check(f.t, err)
	return s
}

// shows is the subject of what a client without a name is shown.
func shows(t *testing.T, s *Store) string {
	t.Helper()
	c, err := s.Config().GetCertificate(&tls.ClientHelloInfo{})
	check(t, err)
	return c.Leaf.Subject.CommonName
}

func TestFilesThatCannotBeUsedAreAllNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(f *files)
		want  string // beginnings of lines
	}{
		"both are missing":         {func(f *files) { check(f.t, errors.Join(os.Remove(f.options.Cert), os.Remove(f.options.Key))) }, "cert: |key: "},
		"the key is another's":     {func(f *files) { certtest.Write(f.t, t.TempDir(), f.ca.Issue("x")); f.otherKey() }, "cert: "},
		"the certificate is none":  {func(f *files) { check(f.t, os.WriteFile(f.options.Cert, []byte("hello"), 0o600)) }, "cert: "},
		"the certificate is empty": {func(f *files) { check(f.t, os.WriteFile(f.options.Cert, nil, 0o600)) }, "cert: "},
		"a folder":                 {func(f *files) { f.options.Cert = f.folder }, "cert: "},
		"something endless":        {func(f *files) { f.options.Key = os.DevNull }, "key: "},
		"too long":                 {func(f *files) { check(f.t, os.Truncate(f.options.Key, maxFileBytes+1)) }, "key: "},
		"authorities without one": {func(f *files) {
			f.options.ClientCA, f.options.ClientAuth = f.options.Key, "require"
		}, "client_ca: "},
		"all at once": {func(f *files) {
			f.options = Options{Cert: "none", Key: "none", ClientCA: "none", ClientAuth: "request"}
		}, "cert: |key: |client_ca: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			tc.spoil(f)
			_, err := Open(f.options, nil)
			if err == nil {
				t.Fatal("it opens")
			}
			lines := strings.Split(err.Error(), "\n")
			want := strings.Split(tc.want, "|")
			for i := range max(len(lines), len(want)) {
				if i >= len(lines) || i >= len(want) || !strings.HasPrefix(lines[i], want[i]) {
					t.Fatalf("got %q, want lines that begin with %q", lines, want)
				}
			}
		})
	}
}

// otherKey puts the key of another certificate beside this one.
func (f *files) otherKey() {
	_, key := certtest.Write(f.t, f.t.TempDir(), f.ca.Issue("another"))
	check(f.t, os.Rename(key, f.options.Key))
}

func TestOtherFilesAreTakenWholeOrNotAtAll(t *testing.T) {
	f := newFiles(t)
	s := f.open()
	same := func(what string) {
		t.Helper()
		if changed, err := s.Reload(); changed || err != nil {
			t.Errorf("%s: changed: %v, %v", what, changed, err)
		}
	}
	same("nothing")
	config := s.Config()
	certtest.Write(t, f.folder, f.ca.Issue("second"))
	if changed, err := s.Reload(); !changed || err != nil {
		t.Errorf("changed: %v, %v", changed, err)
	}
	if got := shows(t, s); got != "second" {
		t.Errorf("it shows %q", got)
	}
	if s.Config() != config {
		t.Error("another certificate has made sessions useless")
	}
	f.otherKey()
	if _, err := s.Reload(); err == nil {
		t.Error("half a pair is taken")
	}
	if got := shows(t, s); got != "second" {
		t.Errorf("with half a pair it shows %q", got)
	}
	if st := s.Stats(); st.Loaded != 1 || st.Refused != 1 || st.NotAfter.Before(time.Now()) {
		t.Errorf("%+v", st)
	}
}

// A session that is taken up again is not asked for a certificate, so sessions end
// when other clients are welcome than before.
func TestSessionsEndWithTheAuthoritiesOfClients(t *testing.T) {
	f := newFiles(t)
	f.options.ClientCA, f.options.ClientAuth = certtest.New(t).WriteCA(f.folder), "require"
	s := f.open()
	for what, change := range map[string]func() error{
		"other authorities": func() error {
			certtest.New(t).WriteCA(f.folder)
			_, err := s.Reload()
			return err
		},
		"another demand": func() error {
			o := s.Options()
			o.ClientAuth = "request"
			return s.Apply(o)
		},
		"another version": func() error {
			o := s.Options()
			o.MinVersion = "1.3"
			return s.Apply(o)
		},
	} {
		before := s.Config()
		check(t, change())
		if s.Config() == before {
			t.Errorf("%s: sessions go on", what)
		}
	}
	before, o := s.Config(), s.Options()
	o.ClientCA = filepath.Join(f.folder, "none")
	if err := s.Apply(o); err == nil || s.Config() != before || s.Options().ClientCA == o.ClientCA {
		t.Errorf("options that cannot be used have changed something: %v", err)
	}
}

func TestACertificateThatIsOfNoUseIsTold(t *testing.T) {
	f := newFiles(t)
	certtest.Write(t, f.folder, f.ca.IssueUntil("old", time.Now().Add(-time.Hour)))
	var log bytes.Buffer
	_, err := Open(f.options, slog.New(slog.NewTextHandler(&log, nil)))
	check(t, err)
	if !strings.Contains(log.String(), "the certificate has expired") {
		t.Errorf("it says %q", log.String())
	}
}

// autoStore has an authority that is the test's.
func autoStore(t *testing.T, o Options, get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *Store {
	t.Helper()
	s := &Store{logger: slog.New(slog.DiscardHandler)}
	s.autocert = func(o AutocertOptions, logger *slog.Logger) *auto { return autoOf(o.Domains, get, logger) }
	_, err := s.take(o)
	check(t, err)
	return s
}

// handshake returns the subject that a client for name is shown, and its error.
func handshake(t *testing.T, s *Store, client *tls.Config) (subject string, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	done := make(chan struct{})
	go func() { // ends with a
		defer close(done)
		server := tls.Server(b, s.Config())
		_ = server.Handshake()
		b.Close()
	}()
	conn := tls.Client(a, client)
	if err = conn.Handshake(); err == nil {
		subject = conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	a.Close()
	<-done
	return subject, err
}

func TestCertificatesOfAnAuthority(t *testing.T) {
	f := newFiles(t)
	issued, challenge := f.ca.Issue("issued"), f.ca.Issue("challenge")
	f.options.Autocert = AutocertOptions{Domains: []string{"Chat.Example.com"}, CacheDir: "cache"}
	s := autoStore(t, f.options, func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == "acme-tls/1" {
			return &challenge, nil
		}
		return &issued, nil
	})
	for name, tc := range map[string]struct {
		client *tls.Config
		want   string
	}{
		"its name":             {&tls.Config{ServerName: "chat.example.com"}, "issued"},
		"a challenge":          {&tls.Config{ServerName: "chat.example.com", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}, "challenge"},
		"another name":         {&tls.Config{ServerName: "localhost"}, "first"},
		"ALPN of a WebSocket":  {&tls.Config{ServerName: "chat.example.com", NextProtos: []string{"http/1.1"}}, "issued"},
		"a client without SNI": {&tls.Config{InsecureSkipVerify: true}, "first"},
	} {
		tc.client.RootCAs = f.ca.Pool()
		if got, err := handshake(t, s, tc.client); got != tc.want || err != nil {
			t.Errorf("%s: shown %q, %v; want %q", name, got, err, tc.want)
		}
	}
	only := autoStore(t, Options{Autocert: f.options.Autocert}, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &issued, nil })
	if _, err := only.Config().GetCertificate(&tls.ClientHelloInfo{ServerName: "localhost"}); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("another name, without a pair: %v", err)
	}
	if st := only.Stats(); !st.NotAfter.IsZero() {
		t.Errorf("%+v", st)
	}
}

// Everybody who asks for a name while the authority is busy with it waits for the
// same answer, and no longer than their handshake; then it goes on without them.
func TestTheAuthorityIsAskedOnceForAName(t *testing.T) {
	ca := certtest.New(t)
	issued := ca.Issue("issued")
	var mu sync.Mutex
	asked := 0
	answer := make(chan struct{})
	s := autoStore(t, Options{Autocert: AutocertOptions{Domains: []string{"chat.example.com"}, CacheDir: "cache"}},
		func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			asked++
			mu.Unlock()
			<-answer
			if hello.Context() != nil && hello.Context().Err() != nil {
				return nil, hello.Context().Err()
			}
			return &issued, nil
		})
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "chat.example.com"}
	a, b := net.Pipe()
	ctx, cancel := contextOf(t)
	gone := make(chan error, 1)
	go func() { gone <- tls.Server(b, s.Config()).HandshakeContext(ctx) }() // ends with ctx
	go func() { _ = tls.Client(a, client).Handshake(); a.Close() }()        // ends with b
	until(t, func() bool { mu.Lock(); defer mu.Unlock(); return asked == 1 })
	cancel()
	if err := <-gone; err == nil {
		t.Error("a handshake without an answer has ended well")
	}
	b.Close()

	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			if got, err := handshake(t, s, client); got != "issued" || err != nil {
				t.Errorf("shown %q, %v", got, err)
			}
		})
	}
	close(answer)
	waiting.Wait()
}
