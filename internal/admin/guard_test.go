package admin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// listenWith begins to serve with those options, and a server to tell of.
func listenWith(t *testing.T, o Options) *Listener {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	l, err := Listen(o)
	check(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, l.Close(ctx))
	})
	return l
}

// clientOf reaches a listener wherever it is.
func clientOf(l *Listener, t *tls.Config) *http.Client {
	return &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: t,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
			},
		},
	}
}

// attempt is a request that may be refused.
type attempt struct {
	method, target, host, body string
	header                     http.Header
}

func (l *Listener) attempt(t *testing.T, a attempt) (status int, p Problem, header http.Header) {
	t.Helper()
	if a.method == "" {
		a.method = "GET"
	}
	request, err := http.NewRequestWithContext(t.Context(), a.method, "http://localhost/", strings.NewReader(a.body))
	check(t, err)
	request.URL.Opaque = a.target // as it is, with its dots
	if a.host != "" {
		request.Host = a.host
	}
	if a.header != nil {
		request.Header = a.header
	}
	response, err := clientOf(l, nil).Do(request)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	if kind := response.Header.Get("Content-Type"); strings.HasPrefix(a.target, "/v1") {
		if !json.Valid(text) || !strings.Contains(kind, "json") {
			t.Errorf("%s %s answers %s: %q", a.method, a.target, kind, text)
		}
		if response.StatusCode >= 400 {
			check(t, json.Unmarshal(text, &p))
			if p.Status != response.StatusCode || kind != "application/problem+json" || p.Type != "about:blank" || p.Title == "" || p.Detail == "" {
				t.Errorf("%s %s answers %s: %s", a.method, a.target, kind, text)
			}
		}
	}
	return response.StatusCode, p, response.Header
}

func bearer(token string, more ...string) http.Header {
	h := http.Header{"Authorization": {"Bearer " + token}}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

func TestWhoMayCallTheAPI(t *testing.T) {
	l := listenWith(t, Options{Token: goodToken, AllowedHosts: []string{"admin.test"}})
	l.Watch(subject(t))
	large := `{"text":"` + strings.Repeat("x", maxJSONBytes) + `"}`
	for name, tc := range map[string]struct {
		attempt
		status int
		code   string
	}{
		"the right token":                       {attempt{target: "/v1/status", header: bearer(goodToken)}, 200, ""},
		"another case of the scheme":            {attempt{target: "/v1/status", header: http.Header{"Authorization": {"bearer " + goodToken}}}, 200, ""},
		"no token":                              {attempt{target: "/v1/status"}, 401, CodeUnauthorized},
		"a wrong token":                         {attempt{target: "/v1/status", header: bearer(goodToken[1:] + "x")}, 401, CodeUnauthorized},
		"a beginning of the token":              {attempt{target: "/v1/status", header: bearer(goodToken[:31])}, 401, CodeUnauthorized},
		"more than the token":                   {attempt{target: "/v1/status", header: bearer(goodToken + "0")}, 401, CodeUnauthorized},
		"another scheme":                        {attempt{target: "/v1/status", header: http.Header{"Authorization": {"Basic " + goodToken}}}, 401, CodeUnauthorized},
		"a token in the URL":                    {attempt{target: "/v1/status?token=" + goodToken}, 401, CodeUnauthorized},
		"a token in the URL as OAuth has it":    {attempt{target: "/v1/status?access_token=" + goodToken}, 401, CodeUnauthorized},
		"nothing is told of what is not there":  {attempt{target: "/v1/nothing"}, 401, CodeUnauthorized},
		"what is not there":                     {attempt{target: "/v1/nothing", header: bearer(goodToken)}, 404, CodeNotFound},
		"a name that leads here":                {attempt{target: "/v1/status", host: "admin.evil.test", header: bearer(goodToken)}, 403, CodeForbiddenHost},
		"a name that begins like one":           {attempt{target: "/v1/status", host: "localhost.evil.test:9100", header: bearer(goodToken)}, 403, CodeForbiddenHost},
		"another address":                       {attempt{target: "/v1/status", host: "10.1.2.3", header: bearer(goodToken)}, 403, CodeForbiddenHost},
		"a name that is allowed":                {attempt{target: "/v1/status", host: "Admin.Test:1234", header: bearer(goodToken)}, 200, ""},
		"loopback by its other address":         {attempt{target: "/v1/status", host: "[::1]:9100", header: bearer(goodToken)}, 200, ""},
		"a page of another origin":              {attempt{method: "POST", target: "/v1/modules/echo/pause", header: bearer(goodToken, "Origin", "https://evil.test")}, 403, CodeCrossOrigin},
		"a page, as its browser says":           {attempt{method: "POST", target: "/v1/modules/echo/pause", header: bearer(goodToken, "Sec-Fetch-Site", "cross-site")}, 403, CodeCrossOrigin},
		"a preflight of a page":                 {attempt{method: "OPTIONS", target: "/v1/modules/echo/pause", header: http.Header{"Origin": {"https://evil.test"}, "Access-Control-Request-Method": {"POST"}}}, 401, CodeUnauthorized},
		"a body that is too large":              {attempt{method: "POST", target: "/v1/connections/1/messages", body: large, header: bearer(goodToken)}, 413, CodeTooLarge},
		"a way out":                             {attempt{target: "/v1/../metrics", header: bearer(goodToken)}, 400, CodeInvalid},
		"a way out that is escaped":             {attempt{target: "/v1/modules/%2e%2e/%2e%2e/metrics", header: bearer(goodToken)}, 400, CodeInvalid},
		"a slash within a name":                 {attempt{target: "/v1/modules/a%2fb", header: bearer(goodToken)}, 404, CodeUnknownModule},
		"a name of a file":                      {attempt{target: "/v1/modules/..%2f..%2fetc%2fpasswd", header: bearer(goodToken)}, 400, CodeInvalid},
		"two slashes":                           {attempt{target: "/v1//status", header: bearer(goodToken)}, 400, CodeInvalid},
		"a zero byte":                           {attempt{target: "/v1/modules/a%00b", header: bearer(goodToken)}, 400, CodeInvalid},
		"another method":                        {attempt{method: "PATCH", target: "/v1/modules/echo", header: bearer(goodToken)}, 405, CodeMethodNotAllowed},
		"a key that is not of the query":        {attempt{target: "/v1/connections?limitt=3", header: bearer(goodToken)}, 400, CodeInvalid},
		"a key twice":                           {attempt{target: "/v1/connections?limit=3&limit=4", header: bearer(goodToken)}, 400, CodeInvalid},
		"a number that is none":                 {attempt{target: "/v1/connections?limit=x", header: bearer(goodToken)}, 400, CodeInvalid},
		"a query that is none":                  {attempt{target: "/v1/connections?%zz", header: bearer(goodToken)}, 400, CodeInvalid},
		"the description, to everybody":         {attempt{target: "/v1/openapi.json"}, 200, ""},
		"the description, by another name":      {attempt{target: "/v1/openapi.json", host: "evil.test"}, 403, CodeForbiddenHost},
		"figures, to everybody and by any name": {attempt{target: "/metrics", host: "evil.test"}, 200, ""},
		"profiles, which are off":               {attempt{target: "/debug/pprof/", header: bearer(goodToken)}, 404, ""},
	} {
		status, p, header := l.attempt(t, tc.attempt)
		if status != tc.status || p.Code != tc.code {
			t.Errorf("%s: %d %q, want %d %q; %s", name, status, p.Code, tc.status, tc.code, p.Detail)
		}
		if status == 401 && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: nothing says that a token is wanted", name)
		}
		if allow := header.Get("Allow"); status == 405 && allow != "GET, HEAD, PUT" {
			t.Errorf("%s: it allows %q", name, allow)
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: pages may read it", name)
		}
	}
}

func TestAModuleMayHaveAsManyBytesAsTheServerTakes(t *testing.T) {
	l := listenWith(t, Options{Token: goodToken, MaxModuleBytes: 1000})
	s := subject(t)
	s.Operator = &staff{}
	l.Watch(s)
	for n, want := range map[int]int{1000: 200, 1001: 413} {
		if status, p, _ := l.attempt(t, attempt{method: "PUT", target: "/v1/modules/echo", body: strings.Repeat("x", n), header: bearer(goodToken)}); status != want {
			t.Errorf("%d bytes: %d %+v, want %d", n, status, p, want)
		}
	}
}

func TestAThousandWrongTokensDoNotKeepOutTheRightOne(t *testing.T) {
	var log bytes.Buffer
	l := listenWith(t, Options{Token: goodToken, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	l.Watch(subject(t))
	answers := map[int]int{}
	for n := range 1000 {
		status, p, header := l.attempt(t, attempt{target: "/v1/status", header: bearer("wrong" + strconv.Itoa(n))})
		answers[status]++
		if status == 429 && (p.Code != CodeTooManyRequests || header.Get("Retry-After") == "") {
			t.Fatalf("%+v", p)
		}
		if n%100 == 99 {
			if status, p, _ := l.attempt(t, attempt{target: "/v1/status", header: bearer(goodToken)}); status != 200 {
				t.Errorf("after %d wrong ones: %d %+v", n+1, status, p)
			}
		}
	}
	if answers[401] < wrongTokensBurst || answers[429] == 0 || answers[401]+answers[429] != 1000 {
		t.Errorf("%v", answers)
	}
	if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > 20 || strings.Contains(log.String(), "wrong9") {
		t.Errorf("the log has %d lines:\n%s", lines, &log)
	}
}

func TestWrongTokensAreTakenAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(goodToken, nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, slog.New(slog.DiscardHandler))
		taken := func() (n int) {
			for g.mayTry(time.Now(), &http.Request{}) {
				n++
			}
			return n
		}
		if n := taken(); n != wrongTokensBurst {
			t.Errorf("%d at once, want %d", n, wrongTokensBurst)
		}
		time.Sleep(time.Second)
		if n := taken(); n != wrongTokensPerSecond {
			t.Errorf("%d after a second, want %d", n, wrongTokensPerSecond)
		}
		time.Sleep(time.Hour)
		if n := taken(); n != wrongTokensBurst {
			t.Errorf("%d after an hour, want %d", n, wrongTokensBurst)
		}
	})
}

func TestATokenIsMadeForThisMachineAndKept(t *testing.T) {
	cache := t.TempDir()
	l, err := Listen(Options{Listen: "127.0.0.1:0", CacheDir: cache})
	check(t, err)
	l.Watch(subject(t))
	token, file := l.GeneratedToken()
	if !l.HasAPI() || len(token) != 43 || file != TokenFile(cache, l.Addr().String()) {
		t.Errorf("%q in %s", token, file)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(t, err)
	if named := TokenFile(cache, "localhost:"+port); named != file {
		t.Errorf("who calls it localhost looks at %s, not %s", named, file)
	}
	info, err := os.Stat(file)
	check(t, err)
	folder, err := os.Stat(filepath.Dir(file))
	check(t, err)
	if info.Mode().Perm() != 0o600 || folder.Mode().Perm() != 0o700 {
		t.Errorf("modes %v and %v", info.Mode(), folder.Mode())
	}
	text, err := os.ReadFile(file)
	check(t, err)
	if string(text) != token+"\n" {
		t.Errorf("it holds %q", text)
	}
	if status, _, _ := l.attempt(t, attempt{target: "/v1/status", header: bearer(token)}); status != 200 {
		t.Errorf("%d", status)
	}
	check(t, l.Close(t.Context()))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("it stays: %v", err)
	}

	// What a later server has written is its own; a link leads nowhere.
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	check(t, os.WriteFile(elsewhere, []byte("mine"), 0o644))
	check(t, os.Symlink(elsewhere, file))
	check(t, writeToken(file, "new"))
	check(t, removeToken(file, "old"))
	if text, err := os.ReadFile(file); err != nil || string(text) != "new\n" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "mine" {
		t.Errorf("it was written through a link: %q, %v", text, err)
	}
}

func TestATokenIsExchanged(t *testing.T) {
	l := listenWith(t, Options{Token: goodToken})
	l.Watch(subject(t))
	const next = "fedcba9876543210fedcba9876543210"
	for _, step := range []struct{ set, right, wrong string }{{next, next, goodToken}, {"", next, goodToken}, {goodToken, goodToken, next}} {
		l.SetToken(step.set)
		for token, want := range map[string]int{step.right: 200, step.wrong: 401, "": 401} {
			if status, _, _ := l.attempt(t, attempt{target: "/v1/status", header: bearer(token)}); status != want {
				t.Errorf("after %q: %q is %d, want %d", step.set, token, status, want)
			}
		}
	}
	none := listenWith(t, Options{Listen: "0.0.0.0:0"})
	none.SetToken(goodToken) // without TLS
	if status, _, _ := none.attempt(t, attempt{target: "/x", header: bearer(goodToken)}); status != 404 || none.HasAPI() {
		t.Errorf("%d", status)
	}
}

func TestAConfiguredTokenIsNotKept(t *testing.T) {
	cache := t.TempDir()
	l := listenWith(t, Options{Token: goodToken, CacheDir: cache})
	if token, file := l.GeneratedToken(); token != "" || file != "" {
		t.Errorf("%q, %q", token, file)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// certificate makes files for 127.0.0.1, and who trusts them.
func certificate(t *testing.T) (cert, key string, trusts *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	check(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	check(t, err)
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	check(t, os.WriteFile(cert, certPEM, 0o600))
	check(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return cert, key, &tls.Config{RootCAs: roots}
}

func TestWhereOthersConnectTheAPINeedsATokenAndTLS(t *testing.T) {
	l := listenWith(t, Options{Listen: "0.0.0.0:0"})
	if status, _, _ := l.attempt(t, attempt{target: "/healthz"}); status != 200 || l.HasAPI() {
		t.Errorf("health is %d, and there is an API: %v", status, l.HasAPI())
	}
	if status, body := ask(t, l, "GET", "/v1/status"); status != 404 || strings.Contains(body, "{") {
		t.Errorf("without a token: %d %q", status, body)
	}

	if l, err := Listen(Options{Listen: "0.0.0.0:0", Token: goodToken}); err == nil || !strings.Contains(err.Error(), "admin.tls_cert") {
		t.Errorf("without TLS: %v, %v", l, err)
	}

	cert, key, trusts := certificate(t)
	if _, err := Listen(Options{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: cert}); err == nil {
		t.Error("a certificate passes for a key")
	}
	l = listenWith(t, Options{Listen: "0.0.0.0:0", Token: goodToken, TLSCert: cert, TLSKey: key})
	l.Watch(subject(t))
	get := func(config *tls.Config) (*http.Response, error) {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://127.0.0.1/v1/status", nil)
		check(t, err)
		request.Header = bearer(goodToken)
		return clientOf(l, config).Do(request)
	}
	response, err := get(trusts)
	check(t, err)
	response.Body.Close()
	if response.StatusCode != 200 || !strings.HasPrefix(l.URL(), "https://") {
		t.Errorf("%d at %s", response.StatusCode, l.URL())
	}
	old := trusts.Clone()
	old.MaxVersion = tls.VersionTLS11
	if response, err := get(old); err == nil {
		response.Body.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestAUnixSocketIsTheOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	stale.SetUnlinkOnClose(false)
	check(t, stale.Close()) // as a process that was killed leaves it

	cache := t.TempDir()
	l, err := Listen(Options{Listen: "unix:" + path, CacheDir: cache})
	check(t, err)
	l.Watch(subject(t))
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket || l.URL() != "unix:"+path {
		t.Errorf("%v at %s", info.Mode(), l.URL())
	}
	token, file := l.GeneratedToken()
	if file != TokenFile(cache, "unix:"+path) {
		t.Errorf("the token is in %s", file)
	}
	for _, tc := range []struct {
		header http.Header
		want   int
	}{{nil, 401}, {bearer(token), 200}} {
		if status, _, _ := l.attempt(t, attempt{target: "/v1/status", host: "whatever", header: tc.header}); status != tc.want {
			t.Errorf("%d, want %d", status, tc.want)
		}
	}
	if _, err := Listen(Options{Listen: "unix:" + path}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second server: %v", err)
	}
	check(t, l.Close(t.Context()))
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	check(t, os.WriteFile(path, []byte("precious"), 0o644))
	if _, err := Listen(Options{Listen: "unix:" + path}); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestBeforeTheServerTheAPIIsNotAvailable(t *testing.T) {
	l := listenWith(t, Options{Token: goodToken})
	if status, p, _ := l.attempt(t, attempt{target: "/v1/status", header: bearer(goodToken)}); status != 503 || p.Code != CodeUnavailable {
		t.Errorf("%d %+v", status, p)
	}
	l.Watch(subject(t)) // without an operator
	for _, a := range []attempt{{target: "/v1/config"}, {method: "POST", target: "/v1/config/reload"}, {method: "PUT", target: "/v1/modules/echo"}, {method: "POST", target: "/v1/modules/echo/promote?persist"}} {
		a.header = bearer(goodToken)
		if status, p, _ := l.attempt(t, a); status != 503 || p.Code != CodeUnavailable {
			t.Errorf("%s: %d %+v", a.target, status, p)
		}
	}
}

func TestProfilesAreForWhoHasTheToken(t *testing.T) {
	l := listenWith(t, Options{Token: goodToken, Pprof: true})
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 200, "/debug/vars": 404} {
		if status, _, _ := l.attempt(t, attempt{target: path}); status != 401 {
			t.Errorf("%s without a token: %d", path, status)
		}
		if status, _, _ := l.attempt(t, attempt{target: path, header: bearer(goodToken)}); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}
