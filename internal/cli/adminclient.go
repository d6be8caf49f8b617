package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/internal/admin"
	"weir/internal/config"
)

// adminFlags are the flags of every command that asks a running server.
type adminFlags struct {
	address   string
	tokenFile string
	source    serveFlags // where admin.listen and admin.token are found
	output    string
}

const adminFlagsHelp = `

The server is the one that --admin names, else admin.listen of the configuration (` + defaultFile + `
here, or --config, and WEIR_ADMIN_LISTEN). Its token comes from --token-file, else from
admin.token of that configuration (and WEIR_ADMIN_TOKEN), else from the file that a server
without a configured token leaves for its own user. Exit codes: 0 done, 2 wrong usage,
4 refused by the server, 5 it cannot be reached or does not take the token.`

// register adds the flags; forms are those of the output, the default first.
func (f *adminFlags) register(cmd *cobra.Command, forms string) {
	f.registerReach(cmd.Flags())
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "`FORM` of the output: "+forms)
}

// registerReach adds those that say where the server is.
func (f *adminFlags) registerReach(flags *pflag.FlagSet) {
	f.registerAddress(flags)
	f.source.registerSource(flags)
}

func (f *adminFlags) registerAddress(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "admin", "", "`ADDRESS` of the server's admin listener: host:port, https://host:port or unix:/path")
	flags.StringVar(&f.tokenFile, "token-file", "", "`FILE` that holds the token")
}

// adminClient asks the admin API of one server.
type adminClient struct {
	base      string // of URLs, without a slash at the end
	shown     string // the address, for people
	http      *http.Client
	token     string
	tokenFrom string // for people: where the token came from, or where there was none
}

// Bounds of requests. A deploy and a stream have no bound of time; a signal ends them.
const (
	adminTimeout   = 10 * time.Second
	maxAdminAnswer = 64 << 20
)

// reach finds out where the server is and what token it wants. It does not connect.
func (f *adminFlags) reach(env *Env) (*adminClient, error) {
	source, err := f.source.source(env, nil)
	if err != nil {
		return nil, err
	}
	r := config.Read(source)
	var ours config.AdminOptions // of the configuration
	if r.Config != nil {
		ours = r.Config.Admin
	}
	if f.address == "" {
		if err := r.Err(); err != nil {
			return nil, &exitError{exitUsage, err}
		}
		if ours.Listen == "" {
			return nil, usage("no server is named: give --admin ADDRESS, or run this where a configuration (%s, --config) has admin.listen", defaultFile)
		}
	}
	address := cmp.Or(f.address, ours.Listen)
	c, err := newAdminClient(address, address == ours.Listen && ours.TLSCert != "")
	if err != nil {
		return nil, err
	}
	if address == ours.Listen && ours.TLSCert != "" {
		c.trust(env, ours.TLSCert)
	}
	// A token of the configuration is for the configuration's server: it is not sent
	// to another, unless it stands in the environment, where somebody has put it for
	// this command.
	ownToken := address == ours.Listen || ours.Listen == ""
	if s, ok := r.Find("admin.token"); ok && strings.HasPrefix(s.Origin.Name, "WEIR_ADMIN_TOKEN") {
		ownToken = true
	}
	switch {
	case f.tokenFile != "":
		text, err := env.ReadFile(f.tokenFile)
		if err != nil {
			return nil, usage("--token-file: %w", err)
		}
		c.token, c.tokenFrom = strings.TrimSpace(string(text)), f.tokenFile
		if c.token == "" {
			return nil, usage("--token-file: %s is empty", f.tokenFile)
		}
	case ours.Token != "" && ownToken:
		c.token, c.tokenFrom = ours.Token, "admin.token of the configuration"
	default:
		c.findToken(env, address)
	}
	return c, nil
}

// forms are those of a command that ends by itself.
var forms = []string{"text", "json", "ndjson"}

// ask does what a command does with a server, until a signal comes.
func (f *adminFlags) ask(ctx context.Context, env *Env, forms []string, do func(ctx context.Context, c *adminClient) error) error {
	if err := wantForm(f.output, forms...); err != nil {
		return err
	}
	c, err := f.reach(env)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx, env)
	defer stop()
	return do(ctx, c)
}

// findToken reads the token that a server without a configured one has made for
// the programs of its own user.
func (c *adminClient) findToken(env *Env, address string) {
	_, bare, hasScheme := strings.Cut(address, "://")
	if hasScheme {
		address = strings.TrimSuffix(bare, "/")
	}
	file := admin.TokenFile(env.CacheDir, address)
	if env.CacheDir == "" {
		c.tokenFrom = "the configuration has no admin.token, and the system names no folder where a server could leave one"
		return
	}
	text, err := env.ReadFile(file)
	switch {
	case err == nil:
		c.token, c.tokenFrom = strings.TrimSpace(string(text)), file
	case errors.Is(err, fs.ErrNotExist):
		c.tokenFrom = "there is neither an admin.token in the configuration nor " + file
	default:
		c.tokenFrom = err.Error()
	}
}

// newAdminClient is a client without a token. secure says that an address without
// a scheme speaks TLS though it is this machine's own.
func newAdminClient(address string, secure bool) (*adminClient, error) {
	// No proxy: the token is for the server. Nothing is kept alive: most commands
	// ask once.
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: false}
	c := &adminClient{shown: address, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return nil, usage("%q is no address of an admin listener; write unix:/path", address)
		}
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		return c, nil
	}
	scheme, rest, hasScheme := strings.Cut(address, "://")
	if !hasScheme {
		scheme, rest = "", address
	}
	rest = strings.TrimSuffix(rest, "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil && scheme == "https" && rest != "" && !strings.ContainsAny(rest, "/?#@:") {
		host, port, err = rest, "443", nil
	}
	if err != nil || port == "" || strings.ContainsAny(host, "/?#@") || scheme != "" && scheme != "http" && scheme != "https" {
		return nil, usage("%q is no address of an admin listener; write host:port, https://host:port or unix:/path", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, usage("%s: %q is no port", address, port)
	} else if n == 0 {
		return nil, usage("%s is any free port; give --admin with the address that the server has logged", address)
	}
	ip, _ := netip.ParseAddr(host)
	if host == "" || ip.IsUnspecified() { // it listens on all addresses of this machine
		host, ip = "127.0.0.1", netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	own := ip.IsLoopback() || strings.EqualFold(host, "localhost")
	if scheme == "" {
		scheme = "https"
		if own && !secure {
			scheme = "http"
		}
	}
	if scheme == "http" && !own {
		return nil, usage("%s: the token would cross the network in the clear; write https://, or reach the server through a tunnel (ssh -L)", address)
	}
	c.base = scheme + "://" + net.JoinHostPort(host, port)
	return c, nil
}

// trust adds a certificate of this machine to those that the system trusts; one
// that cannot be read is left to the handshake to tell of.
func (c *adminClient) trust(env *Env, file string) {
	pem, err := env.ReadFile(file)
	if err != nil {
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(pem)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
}

// request is one question to the API.
type request struct {
	what   string // for people: "deploy chat"
	method string // empty: GET
	path   string
	query  url.Values
	header http.Header
	body   any    // as JSON, or an io.Reader as it is; nil = none
	length int64  // of a reader
	module string // that the question is about, to say what was meant
}

// get asks for something. into is what the answer is decoded to.
func (c *adminClient) get(ctx context.Context, what, path string, query url.Values, into any) error {
	return c.call(ctx, request{what: what, path: path, query: query}, into)
}

// call asks, within adminTimeout, and decodes the answer into into; nil = it is not
// looked at.
func (c *adminClient) call(ctx context.Context, r request, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, adminTimeout, fmt.Errorf("it has not answered within %v", adminTimeout))
	defer cancel()
	return c.callLong(ctx, r, into)
}

// callLong is call for what may take as long as it takes.
func (c *adminClient) callLong(ctx context.Context, r request, into any) error {
	answer, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, maxAdminAnswer))
	if err != nil {
		return c.unreachable(ctx, r.what, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return c.strange(r.what, err.Error())
	}
	return nil
}

// open asks, and returns the body of an answer that is no refusal. The caller
// closes it.
func (c *adminClient) open(ctx context.Context, r request) (io.ReadCloser, error) {
	var body io.Reader
	kind := ""
	switch b := r.body.(type) {
	case nil:
	case io.Reader:
		body, kind = b, "application/wasm"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	asked, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodGet), target, body)
	if err != nil {
		return nil, err
	}
	if r.length > 0 {
		asked.ContentLength = r.length
	}
	for name, values := range r.header {
		asked.Header[name] = values
	}
	if kind != "" {
		asked.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		asked.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(asked)
	if err != nil {
		return nil, c.unreachable(ctx, r.what, err)
	}
	if answer.StatusCode/100 == 2 {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what has come is told
	return nil, c.refused(ctx, r, answer, text)
}

// unreachable is the error of a question that was not answered.
func (c *adminClient) unreachable(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, errStopped) || errors.Is(cause, context.Canceled) {
			return cause
		}
		err = cause
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	hint := "does it run, and is this its admin.listen? --admin names another address"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		err = errors.New("connection refused: nothing listens there")
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("there is no such socket")
	case errors.Is(err, fs.ErrPermission):
		err, hint = errors.New("the socket is another user's"), "run this as the user of the server"
	case errors.As(err, &dns):
		err, hint = fmt.Errorf("there is no host %s (%s)", dns.Name, dns.Err), "--admin names another address"
	case errors.As(err, &certificate):
		err, hint = fmt.Errorf("its certificate is not trusted: %w", certificate.Err), "SSL_CERT_FILE names a file of authorities to trust"
	case errors.Is(err, http.ErrSchemeMismatch):
		err, hint = errors.New("it does not speak TLS"), "is this its admin.listen?"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		err, hint = errors.New("it went away before it had answered"), "`weir status` says whether it is back"
	default:
		err = innermost(err)
	}
	return &exitError{exitPeer, fmt.Errorf("%s: the server at %s cannot be reached: %w; %s", what, c.shown, err, hint)}
}

// strange is the error of an answer that no weir would give.
func (c *adminClient) strange(what, why string) error {
	return &exitError{exitPeer, fmt.Errorf("%s: what answers at %s is not the admin API of a weir server: %s; --admin names another address", what, c.shown, printable(why))}
}

// refusedError is what the API says when it does not do what it was asked for.
type refusedError struct {
	admin.Problem
	text string
}

func (e *refusedError) Error() string { return e.text }

// refused makes an error of an answer that is none of success: what was asked of
// whom, why not, and what to do.
func (c *adminClient) refused(ctx context.Context, r request, answer *http.Response, body []byte) error {
	var p admin.Problem
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	if kind != "application/problem+json" || json.Unmarshal(body, &p) != nil || p.Code == "" {
		if answer.StatusCode == http.StatusNotFound {
			return &exitError{exitPeer, fmt.Errorf("%s: there is no admin API at %s; a server offers it on admin.listen, and on an address that is not this machine's own only with admin.token", r.what, c.shown)}
		}
		return c.strange(r.what, "it says "+answer.Status)
	}
	code, next := exitRefused, ""
	if p.Code == admin.CodeTooManyRequests && answer.Header.Get("Retry-After") != "" { // too many wrong tokens
		p.Code = admin.CodeUnauthorized
	}
	switch p.Code {
	case admin.CodeUnauthorized:
		code = exitPeer
		next = "the token is that of " + c.tokenFrom + "; --token-file gives another"
		if c.token == "" {
			next = c.tokenFrom + "; --token-file gives it"
		}
	case admin.CodeTooManyRequests:
		next = "others look already; one that ends makes room"
	case admin.CodeFailed:
		code, next = exitFailed, "`weir logs` may say more"
	case admin.CodeUnavailable:
		code, next = exitPeer, "`weir status` says whether it drains"
	case admin.CodeForbiddenHost:
		next = "the server's admin.allowed_hosts says by what names it may be asked"
	case admin.CodeUnknownModule:
		next = "`weir module list` lists them"
		if near, ok := c.nearModule(ctx, r); ok {
			next = "did you mean " + fmt.Sprintf("%q", near) + "?"
		}
	case admin.CodeUnknownConnection:
		next = "it may have ended; `weir conn list` lists those that are open"
	case admin.CodeConflict:
		next = "somebody else was first; `weir module inspect` says what serves now"
	case admin.CodeNoCanary:
		next = "`weir module deploy NAME FILE --canary PERCENT` starts one"
	case admin.CodeNoPrevious:
		next = "`weir module inspect` lists the generations there are"
	case admin.CodeRefused:
		if strings.HasPrefix(r.path, "/v1/modules/") {
			next = "the generation that served goes on serving"
		}
	}
	text := printable(cmp.Or(p.Detail, p.Title, answer.Status))
	for _, one := range p.Problems {
		if !strings.Contains(p.Detail, one) {
			text += "\n    " + printable(one)
		}
	}
	verb := map[int]string{exitRefused: "refused by", exitPeer: "not taken by", exitFailed: "failed at"}[code] + " the server at "
	text = r.what + ": " + verb + c.shown + ": " + text
	if next != "" {
		text += "; " + next
	}
	return &exitError{code, &refusedError{p, text}}
}

// nearModule is the module that was probably meant by a question about another.
func (c *adminClient) nearModule(ctx context.Context, r request) (string, bool) {
	var s admin.Status
	if r.module == "" || c.get(ctx, r.what, "/v1/status", nil, &s) != nil {
		return "", false
	}
	return config.Nearest(r.module, s.Modules)
}

// completing gives shells the names that find returns. A server that does not
// answer at once has none.
func (f *adminFlags) completing(env *Env, find func(ctx context.Context, c *adminClient, args []string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		c, err := f.reach(env)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return find(ctx, c, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completionTimeout is how long somebody who has pressed Tab waits; tests are more
// patient.
var completionTimeout = time.Second

// moduleNames are for completion.
func moduleNames(ctx context.Context, c *adminClient, args []string) []string {
	var s admin.Status
	if len(args) > 0 || c.get(ctx, "complete", "/v1/status", nil, &s) != nil {
		return nil
	}
	return s.Modules
}
