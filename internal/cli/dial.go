package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/spf13/pflag"
)

// dialFlags are the flags of every command that is a client.
type dialFlags struct {
	headers   []string
	protocols []string
	origin    string
	insecure  bool
	compress  bool
	ca        string
	cert, key string
	timeout   time.Duration
}

func (f *dialFlags) register(flags *pflag.FlagSet, timeoutMeans string) {
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "`FIELD` of the request, 'Name: value'; may be repeated")
	flags.StringArrayVar(&f.protocols, "protocol", nil, "`SUBPROTOCOL` to offer; may be repeated, the best first")
	flags.StringVar(&f.origin, "origin", "", "`ORIGIN` to pretend, such as https://example.com; none means a program")
	flags.BoolVarP(&f.insecure, "insecure", "k", false, "trust any certificate")
	flags.BoolVar(&f.compress, "compress", false, "offer permessage-deflate")
	flags.StringVar(&f.ca, "ca", "", "`FILE` of authorities (PEM) to trust instead of the system's")
	flags.StringVar(&f.cert, "cert", "", "`FILE` of a certificate (PEM) to show when the server asks for one; with --key")
	flags.StringVar(&f.key, "key", "", "`FILE` of its private key (PEM)")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, timeoutMeans)
}

// dialer opens connections to one server.
type dialer struct {
	url     string // ws:// or wss://, as the user's was meant
	header  http.Header
	flags   *dialFlags
	tls     *tls.Config // shared by the connections
	timeout time.Duration
	// dialContext opens the socket; nil means that of package net.
	dialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialer checks flags and address, and reads the files that they name.
func (f *dialFlags) dialer(env *Env, address string) (*dialer, error) {
	target, err := parseURL(address)
	if err != nil {
		return nil, usage("%s: %w", address, err)
	}
	d := &dialer{url: target, header: http.Header{}, flags: f, timeout: f.timeout}
	if f.timeout <= 0 {
		return nil, usage("--timeout %v: give a duration above 0, such as 10s", f.timeout)
	}
	for _, field := range f.headers {
		name, value, ok := strings.Cut(field, ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, usage("--header %q: write it as 'Name: value'", field)
		}
		d.header.Add(name, value)
	}
	if f.origin != "" {
		d.header.Set("Origin", f.origin)
	}
	for _, p := range f.protocols {
		if !isToken(p) {
			return nil, usage("--protocol %q: a subprotocol is a word without spaces or any of ()<>@,;:\\\"/[]?={}", p)
		}
	}
	if d.tls, err = f.tls(env); err != nil {
		return nil, err
	}
	return d, nil
}

// tls is how the flags want TLS to be spoken.
func (f *dialFlags) tls(env *Env) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: f.insecure}
	if f.ca != "" {
		text, err := env.ReadFile(f.ca)
		if err != nil {
			return nil, usage("--ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, usage("--ca %s: it holds no certificate in PEM", f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, usage("--cert and --key belong together")
	}
	if f.cert != "" {
		cert, err := env.ReadFile(f.cert)
		if err != nil {
			return nil, usage("--cert: %w", err)
		}
		key, err := env.ReadFile(f.key)
		if err != nil {
			return nil, usage("--key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, usage("--cert %s with --key %s: %w", f.cert, f.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// isToken says whether s is a token of HTTP (RFC 9110, §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// parseURL completes an address: localhost:8080/chat, :8080 and http://… are
// understood as well.
func parseURL(address string) (string, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "ws", address
	}
	switch strings.ToLower(scheme) {
	case "ws", "http":
		scheme = "ws"
	case "wss", "https":
		scheme = "wss"
	default:
		return "", fmt.Errorf("%q is not a scheme of WebSockets; write ws:// or wss://", scheme)
	}
	if strings.HasPrefix(rest, ":") {
		rest = "localhost" + rest
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err
		}
		return "", err
	}
	if u.Hostname() == "" {
		return "", errors.New("it names no host; write ws://HOST:PORT/PATH")
	}
	if u.Fragment != "" {
		return "", errors.New("a WebSocket's address has no #fragment (RFC 6455 §3)")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// callbacks are told of control frames, on the goroutine that reads. Each may be
// nil.
type callbacks struct {
	ping func(payload []byte)
}

// dial opens one connection within the timeout. Its error has exitPeer, unless
// ctx ended.
func (d *dialer) dial(ctx context.Context, on callbacks) (*websocket.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	transport := &http.Transport{
		DialContext:     d.open,
		TLSClientConfig: d.tls,
	}
	defer transport.CloseIdleConnections() // of a request that was refused
	options := &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // as browsers do
		},
		HTTPHeader:   d.header,
		Host:         d.header.Get("Host"),
		Subprotocols: d.flags.protocols,
	}
	if d.flags.compress {
		options.CompressionMode = websocket.CompressionContextTakeover
	}
	if on.ping != nil {
		options.OnPingReceived = func(_ context.Context, payload []byte) bool {
			on.ping(payload)
			return true
		}
	}
	conn, response, err := websocket.Dial(bounded, d.url, options)
	switch {
	case err == nil:
		conn.SetReadLimit(maxReceivedMessage)
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case bounded.Err() != nil:
		err = fmt.Errorf("no answer within %v", d.timeout)
	case response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		err = refusal(response)
	case response != nil:
		err = fmt.Errorf("what answers there does not speak WebSocket: %w", innermost(err))
	default:
		err = unreachable(err)
	}
	return nil, &exitError{exitPeer, fmt.Errorf("%s: %w", d.url, err)}
}

// open opens the socket.
func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	dial := d.dialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &askFirst{Conn: conn, asked: make(chan struct{})}, nil
}

// askFirst reads nothing until something was written. A full server answers 503
// without having read the request; package http takes an answer that comes
// before the question for a stray one, logs it and drops it.
type askFirst struct {
	net.Conn
	once  sync.Once
	asked chan struct{} // closed by the first Write, or Close
}

func (c *askFirst) Read(p []byte) (int, error) {
	<-c.asked
	return c.Conn.Read(p)
}

func (c *askFirst) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.asked) })
	return c.Conn.Write(p)
}

func (c *askFirst) Close() error {
	c.once.Do(func() { close(c.asked) })
	return c.Conn.Close()
}

// maxReceivedMessage bounds what a server can make us hold; a longer message
// closes the connection.
const maxReceivedMessage = 64 << 20

// refusal is an answer that is not 101, with what its body says.
func refusal(r *http.Response) error {
	text := "the server answered " + r.Status
	if to := r.Header.Get("Location"); to != "" && r.StatusCode/100 == 3 {
		text += " to " + printable(to)
	}
	if r.Body != nil { // the library has read its first 1024 bytes
		if body, err := io.ReadAll(r.Body); err == nil {
			if said := strings.TrimSpace(string(body)); said != "" {
				lines := strings.Split(said, "\n")
				for i := range lines {
					lines[i] = printable(strings.TrimSuffix(lines[i], "\r"))
				}
				text += ": " + strings.Join(lines, "\n  ")
			}
		}
	}
	switch r.StatusCode {
	case http.StatusUnauthorized:
		text += "; send what it asks for with --header"
	case http.StatusForbidden:
		text += "; is it the origin? See --origin, and server.allowed_origins of a weir server"
	case http.StatusNotFound:
		text += "; does a route match the path?"
	}
	return errors.New(text)
}

// unreachable says why there was no answer at all.
func unreachable(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused; nothing listens there (`weir serve` starts a server)")
	case errors.As(err, &dns):
		return fmt.Errorf("there is no host %s (%s)", dns.Name, dns.Err)
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fmt.Errorf("its certificate is not trusted: %w; --ca FILE trusts another authority, --insecure trusts any", certificate.Err)
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) {
		return errors.New("it does not speak TLS; write ws:// instead of wss://")
	}
	return innermost(err)
}

// innermost drops the frames of net/http and of the library: the address is said
// already.
func innermost(err error) error {
	for {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err
			continue
		}
		if text, ok := strings.CutPrefix(err.Error(), "failed to WebSocket dial: "); ok {
			return errors.New(text)
		}
		return err
	}
}

// closeCodes are the names of RFC 6455 §7.4.1 and the IANA registry.
var closeCodes = map[int]string{
	1000: "normal closure",
	1001: "going away",
	1002: "protocol error",
	1003: "unsupported data",
	1005: "no code given",
	1006: "connection lost",
	1007: "invalid data",
	1008: "policy violation",
	1009: "message too big",
	1010: "extension missing",
	1011: "internal error",
	1012: "service restart",
	1013: "try again later",
	1014: "bad gateway",
}

// closeMeanings say what a weir server means by a code.
var closeMeanings = map[int]string{
	1001: "the server goes down",
	1006: "it ended without a Close frame",
	1008: "the client broke a rule of the server, such as a rate",
	1009: "a message was longer than websocket.max_message_size",
	1011: "the handler failed; the server's log says why",
	1012: "the handler was replaced by another version",
	1013: "the server is overloaded, or the client reads too slowly",
}

func closeName(code int) string {
	switch name := closeCodes[code]; {
	case name != "":
		return name
	case code >= 4000 && code <= 4999:
		return "the application's own"
	case code >= 3000 && code <= 3999:
		return "a library's own"
	}
	return "unassigned"
}

// closeOf reads how a connection ended from what a read of it returned. why is
// the error that a missing Close frame left; nil when there was one.
func closeOf(err error) (code int, reason string, why error) {
	var frame websocket.CloseError
	if errors.As(err, &frame) {
		return int(frame.Code), frame.Reason, nil
	}
	return 1006, "", err
}

// printable is text from a stranger as one line that a terminal takes for text:
// no control characters, no bytes that are not UTF-8.
func printable(s string) string {
	if !utf8.ValidString(s) {
		quoted := strconv.Quote(s)
		return quoted[1 : len(quoted)-1]
	}
	return oneLine(s)
}
