package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/admin"
)

// saysAlways is a server whose API says always the same, and what it was asked.
func saysAlways(t *testing.T, status int, kind, body string) (address string, asked *http.Request) {
	t.Helper()
	asked = new(http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = *r
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Location", "http://127.0.0.1:1/")
		if r.URL.Path == "/v1/status" {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

// tokenFile is one that holds a token.
func tokenFile(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, []byte("a token of the operator's own, long enough\n"))
	return file
}

func TestWhatTheAdminAPIRefusesIsToldWithTheWayOut(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		code   string
		args   []string
		exit   int
		want   []string // parts of what is said
	}{
		{"a wrong token", 401, admin.CodeUnauthorized, []string{"status"}, 5, []string{"status: not taken by the server at ", ": why\n", "; the token is that of ", "--token-file gives another"}},
		{"too many wrong tokens", 429, admin.CodeTooManyRequests, []string{"status"}, 5, []string{"--token-file gives another"}},
		{"a name that the server does not have", 403, admin.CodeForbiddenHost, []string{"status"}, 4, []string{"admin.allowed_hosts"}},
		{"a server that drains", 503, admin.CodeUnavailable, []string{"module", "pause", "chat"}, 5, []string{"pause chat: ", "`weir status`"}},
		{"another deploy was first", 409, admin.CodeConflict, []string{"module", "deploy", "chat", echoModule}, 4, []string{"deploy chat: refused by the server", "`weir module inspect`"}},
		{"a module that is not taken", 422, admin.CodeRefused, []string{"module", "deploy", "chat", echoModule}, 4, []string{"why\n    the first problem\n    the second; the generation that served goes on serving"}},
		{"no canary", 409, admin.CodeNoCanary, []string{"module", "promote", "chat"}, 4, []string{"--canary PERCENT"}},
		{"no generation to go back to", 409, admin.CodeNoPrevious, []string{"module", "rollback", "chat"}, 4, []string{"rollback chat: ", "`weir module inspect`"}},
		{"a connection that is gone", 404, admin.CodeUnknownConnection, []string{"conn", "send", "17", "hi"}, 4, []string{"send to connection 17: ", "`weir conn list`"}},
		{"a queue that is full", 503, admin.CodeQueueFull, []string{"conn", "send", "17", "hi"}, 4, []string{"send to connection 17: refused"}},
		{"a configuration with mistakes", 422, admin.CodeRefused, []string{"config", "reload"}, 4, []string{"reload the configuration: refused", "the second"}},
		{"what the server fails at", 500, admin.CodeFailed, []string{"module", "deploy", "chat", echoModule, "--persist"}, 1, []string{"deploy chat: failed at the server at "}},
		{"a tail too many", 429, admin.CodeTooManyRequests, []string{"tail"}, 4, []string{"tail: refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := fmt.Sprintf(`{"type":"about:blank","title":"No","status":%d,"detail":"why","code":%q,"problems":["the first problem","the second"]}`, tc.status, tc.code)
			address, _ := saysAlways(t, tc.status, "application/problem+json", body)
			code, stdout, stderr := command(t, realEnv(), append(tc.args, "--admin", address, "--token-file", tokenFile(t))...)
			if code != tc.exit || stdout != "" {
				t.Errorf("exit code %d, want %d; printed %q", code, tc.exit, stdout)
			}
			for _, part := range append(tc.want, address) {
				if !strings.Contains(stderr, part) {
					t.Errorf("said\n%s\nwithout %q", stderr, part)
				}
			}
			if strings.Contains(stderr, "operator's own") {
				t.Errorf("the token is told: %s", stderr)
			}
		})
	}
}

func TestWhatAnswersIsNotWeir(t *testing.T) {
	for _, tc := range []struct {
		name       string
		status     int
		kind, body string
		want       string
	}{
		{"a page", 200, "text/html", "<h1>hello</h1>", "is not the admin API of a weir server"},
		{"an error without a problem", 500, "text/plain", "oops", "it says 500"},
		{"another server's path", 404, "text/plain", "404 page not found", "there is no admin API at "},
		{"a redirection, which would take the token elsewhere", 302, "text/html", "", "it says 302"},
		{"half a document", 200, "application/json", `{"version": `, "is not the admin API of a weir server"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address, _ := saysAlways(t, tc.status, tc.kind, tc.body)
			code, stdout, stderr := command(t, realEnv(), "status", "--admin", address)
			if code != 5 || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
			}
		})
	}
}

func TestWhereTheAdminAPIIsAndWithWhatToken(t *testing.T) {
	address, asked := saysAlways(t, 200, "application/json", "{}")
	port := address[strings.LastIndex(address, ":"):]
	const configured, ofEnvironment = "the token of the configuration, 32 B", "the token of the environment, 32 by"
	folder, cache := t.TempDir(), t.TempDir()
	file := filepath.Join(folder, "weir.yaml")
	must(t, os.MkdirAll(filepath.Join(cache, "weir", "admin"), 0o700))
	must(t, os.WriteFile(admin.TokenFile(cache, address), []byte("left by the server\n"), 0o600))
	given := tokenFile(t)
	for _, tc := range []struct {
		name    string
		config  string // of admin
		environ []string
		args    []string
		token   string // that is sent
	}{
		{"of the configuration", "{listen: " + address + ", token: \"" + strings.ReplaceAll(configured, " ", "_") + "\"}", nil, nil, strings.ReplaceAll(configured, " ", "_")},
		{"of the environment", "{}", []string{"WEIR_ADMIN_LISTEN=" + address, "WEIR_ADMIN_TOKEN=" + strings.ReplaceAll(ofEnvironment, " ", "_")}, nil, strings.ReplaceAll(ofEnvironment, " ", "_")},
		{"of a file", "{listen: " + address + ", token: \"" + strings.ReplaceAll(configured, " ", "_") + "\"}", nil, []string{"--token-file", given}, "a token of the operator's own, long enough"},
		{"left by the server", "{listen: " + address + "}", nil, nil, "left by the server"},
		{"left by the server, by the name of this machine", "{listen: \"localhost" + port + "\"}", nil, nil, "left by the server"},
		{"left by the server, for an address that is given", "{}", nil, []string{"--admin", "http://" + address + "/"}, "left by the server"},
		{"not of the configuration for another server", "{listen: \"127.0.0.1:1\", token: \"" + strings.ReplaceAll(configured, " ", "_") + "\"}", nil, []string{"--admin", address}, "left by the server"},
		{"of the environment for another server", "{listen: \"127.0.0.1:1\"}", []string{"WEIR_ADMIN_TOKEN=" + strings.ReplaceAll(ofEnvironment, " ", "_")}, []string{"--admin", address}, strings.ReplaceAll(ofEnvironment, " ", "_")},
		{"of a server that listens on all addresses", "{listen: \"" + port + "\", token: \"" + strings.ReplaceAll(configured, " ", "_") + "\"}", nil, nil, strings.ReplaceAll(configured, " ", "_")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			write(t, file, []byte("admin: "+tc.config+"\n"))
			env := realEnv()
			env.CacheDir, env.Environ = cache, append(env.Environ, tc.environ...)
			*asked = http.Request{}
			code, _, stderr := command(t, env, append([]string{"status", "-c", file}, tc.args...)...)
			if code != 0 || asked.Header.Get("Authorization") != "Bearer "+tc.token || asked.URL.String() != "/v1/status" {
				t.Errorf("exit code %d, said %q; asked for %v with %q", code, stderr, asked.URL, asked.Header.Get("Authorization"))
			}
		})
	}
}

// certify writes a certificate for this machine that nobody has signed, and its key.
func certify(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	write(t, certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return certificate, key
}

func TestTheAdminAPIOverTLS(t *testing.T) {
	certificate, key := certify(t)
	address := freeAdminAddress(t)
	env := realEnv()
	file := filepath.Join(t.TempDir(), "weir.yaml")
	write(t, file, []byte("admin: {listen: \""+address+"\", token: \""+strings.Repeat("x", 32)+"\", tls_cert: "+certificate+", tls_key: "+key+"}\n"+
		"routes: [{path: /, static: .}]\n"))
	s := serve(t, env, "serve", "-c", file, "--listen", "127.0.0.1:0")
	if code, stdout, stderr := command(t, env, "status", "-c", file); code != 0 || !strings.HasPrefix(stdout, "state          ready\n") {
		t.Errorf("with its configuration: exit code %d, said %q", code, stderr)
	}
	given := filepath.Join(t.TempDir(), "token")
	write(t, given, []byte(strings.Repeat("x", 32)))
	for want, address := range map[string]string{"its certificate is not trusted": "https://" + address, "is not the admin API": "http://" + address} {
		code, _, stderr := command(t, env, "status", "--admin", address, "--token-file", given)
		if code != 5 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, said %q", address, code, stderr)
		}
	}
	s.stopped()
}

// freeAdminAddress is one that nobody has.
func freeAdminAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}

func TestAddressesOfAdminListeners(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9100":           "http://127.0.0.1:9100",
		"localhost:9100":           "http://localhost:9100",
		"[::1]:9100":               "http://[::1]:9100",
		":9100":                    "http://127.0.0.1:9100",
		"0.0.0.0:9100":             "http://127.0.0.1:9100",
		"[::]:9100":                "http://127.0.0.1:9100",
		"10.0.0.1:9100":            "https://10.0.0.1:9100",
		"weir.example:9100":        "https://weir.example:9100",
		"https://weir.example":     "https://weir.example:443",
		"https://127.0.0.1:9100/":  "https://127.0.0.1:9100",
		"unix:/run/weir/a.sock":    "http://localhost",
		"http://weir.example:9100": "",
		"http://127.0.0.1:9100":    "http://127.0.0.1:9100",
		"127.0.0.1":                "",
		"127.0.0.1:0":              "",
		"ftp://127.0.0.1:21":       "",
		"https://a@b:1":            "",
		"https://b:1/path":         "",
		"unix:":                    "",
		"":                         "",
	} {
		c, err := newAdminClient(address, false)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is taken as %s", address, c.base)
		case want != "" && (err != nil || c.base != want):
			t.Errorf("%q: got %+v, %v; want %s", address, c, err, want)
		}
	}
	if c, err := newAdminClient("127.0.0.1:9100", true); err != nil || c.base != "https://127.0.0.1:9100" {
		t.Errorf("with TLS: %+v, %v", c, err)
	}
}

func TestWaitingIsToldOnATerminalAndWipedAway(t *testing.T) {
	after := make(chan time.Time, 1)
	said := newLines()
	env := Env{Stderr: said, Terminal: true}
	stop := waiting(&env, after, func() string { return "uploading chat.wasm" })
	more := said.more
	after <- time.Time{}
	<-more
	stop()
	if got := said.String(); !strings.HasPrefix(got, "\r\x1b[Kweir: uploading chat.wasm … ") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("said %q", got)
	}
	for name, env := range map[string]Env{"no terminal": {Stderr: newLines()}, "what is done at once": {Stderr: newLines(), Terminal: true}} {
		waiting(&env, nil, nil)()
		if got := env.Stderr.(*lines).String(); got != "" {
			t.Errorf("%s: said %q", name, got)
		}
	}
}

func TestTablesAreAlignedAndColouredOnATerminalOnly(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  Env
		want string
	}{
		{"a file", Env{}, "NAME     STATE\nchat     paused\nlöbby-2  -\n"},
		{"a terminal", Env{StdoutTerminal: true}, "\x1b[1mNAME\x1b[0m     \x1b[1mSTATE\x1b[0m\nchat     \x1b[31mpaused\x1b[0m\nlöbby-2  -\n"},
		{"a terminal without colours", Env{StdoutTerminal: true, Environ: []string{"NO_COLOR=1"}}, "NAME     STATE\nchat     paused\nlöbby-2  -\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			tc.env.Stdout = &b
			must(t, show(&tc.env, "text", nil, []int{}, func(t *table) {
				t.head = []string{"NAME", "STATE"}
				t.add("chat", alarm("paused"))
				t.add("löbby-2", "")
			}))
			if b.String() != tc.want {
				t.Errorf("got\n%q\nwant\n%q", b.String(), tc.want)
			}
		})
	}
	var b strings.Builder
	must(t, (&table{head: []string{"NAME"}}).write(&b))
	if b.String() != "" {
		t.Errorf("a table without rows is %q", &b)
	}
}
