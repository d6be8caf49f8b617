package admin

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	defaultMaxModuleBytes = 8 << 20
	// maxJSONBytes bounds every other body: 900 KiB of a message, in base64.
	maxJSONBytes = 1280 << 10
	// uploadTimeout is how long the bytes of a module may take, and
	// deployTimeout how long it then may take to load them.
	uploadTimeout = 2 * time.Minute
	deployTimeout = 2 * time.Minute
)

// route is an operation of the API. What is said of it makes openapi.json too.
type route struct {
	method, path string
	summary      string
	query        []parameter
	ifMatch      bool   // it heeds that header
	takes        any    // the body; nil: none; []byte: a module
	gives        any    // the body of the answer; a line of it if lines is set
	status       int    // of success; 0: 200
	lines        bool   // it answers with lines of JSON, for as long as there are
	open         bool   // no token is asked for
	asked        string // what the log says has been asked for; empty: it changes nothing
	data         bool   // it moves messages rather than changing the server: its log line is for debugging
	serve        func(*call) error
}

// parameter is a key of the query.
type parameter struct{ name, kind, help string }

// call is a request that is being answered.
type call struct {
	l *Listener
	s *Subject
	w http.ResponseWriter
	r *http.Request
	q url.Values
}

var (
	afterParameter = parameter{"after", "string", "Begin behind this: the last page's next."}
	limitParameter = parameter{"limit", "integer", "At most so many, 1 to 1000; 100 if it is not given."}
)

// routes is the table of the API.
func routes() []route {
	return slices.Concat(routesOfServer, routesOfModules, routesOfConnections, routesOfTopics, routesOfTail)
}

var routesOfServer = []route{
	{method: "GET", path: "/v1/openapi.json", summary: "this description", open: true, gives: json.RawMessage{}, serve: (*call).describe},
	{method: "GET", path: "/v1/status", summary: "what the server is and how it is", gives: Status{}, serve: (*call).status},
	{method: "GET", path: "/v1/config", summary: "the configuration in effect", gives: Config{}, serve: (*call).config},
	{method: "POST", path: "/v1/config/reload", summary: "read all files again", gives: Reload{}, asked: "reload of all files", serve: (*call).reload},
	{method: "GET", path: "/v1/logs", summary: "the last log records, and those that come", gives: LogRecord{}, lines: true, serve: (*call).logs, query: []parameter{
		{"level", "string", "The least severe: debug, info, warn or error."},
		{"lines", "integer", "At most so many of those that there are, 0 to 1000; 100 if it is not given."},
		{"follow", "boolean", "Go on with those that come."},
	}},
}

// isOfAPI reports whether a path is the API's, so that what is not there is told
// in JSON, to who has the token.
func isOfAPI(path string) bool {
	return path == "/v1" || strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/debug/")
}

// api answers everything for which isOfAPI.
func (l *Listener) api() http.Handler {
	mux := http.NewServeMux()
	openPaths := map[string]bool{}
	for _, rt := range routes() {
		if rt.open {
			openPaths[rt.path] = true
		}
		mux.Handle(rt.method+" "+rt.path, l.operation(rt))
	}
	if l.options.Pprof {
		l.profiles(mux)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.guard.admits(w, r, openPaths[r.URL.Path]) {
			return
		}
		clean := path.Clean(r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/") {
			clean += "/"
		}
		if r.URL.Path != clean || !utf8.ValidString(r.URL.Path) || strings.ContainsAny(r.URL.Path, "\x00\\") {
			deny(w, CodeInvalid, "the path "+quoted(r.URL.Path)+" is not one of this API")
			return
		}
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			denyUnserved(w, r, handler)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// denyUnserved answers what no route does as the mux wants to, but in JSON.
func denyUnserved(w http.ResponseWriter, r *http.Request, unserved http.Handler) {
	said := notedResponse{header: http.Header{}}
	unserved.ServeHTTP(&said, r)
	if said.status != http.StatusMethodNotAllowed {
		deny(w, CodeNotFound, "there is nothing at "+quoted(r.URL.Path)+"; /v1/openapi.json lists what there is")
		return
	}
	w.Header().Set("Allow", said.header.Get("Allow"))
	deny(w, CodeMethodNotAllowed, r.Method+" is not for "+quoted(r.URL.Path)+"; it takes "+said.header.Get("Allow"))
}

// notedResponse keeps the head of an answer.
type notedResponse struct {
	header http.Header
	status int
}

func (n *notedResponse) Header() http.Header         { return n.header }
func (n *notedResponse) WriteHeader(status int)      { n.status = status }
func (n *notedResponse) Write(p []byte) (int, error) { return len(p), nil }

// operation answers one route's requests.
func (l *Listener) operation(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(maxJSONBytes)
		if _, wasm := rt.takes.([]byte); wasm {
			most = int64(l.options.MaxModuleBytes)
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		c := &call{l: l, s: l.subject.Load(), w: w, r: r}
		err := c.readQuery(rt.query)
		if err == nil && c.s == nil && !rt.open {
			err = fmt.Errorf("%w: the modules are not loaded yet", ErrUnavailable)
		}
		if err == nil {
			err = rt.serve(c)
		}
		if err != nil {
			answerProblem(w, problemOf(err))
		}
		if rt.asked != "" {
			c.tell(rt, err)
		}
	})
}

// tell logs what somebody has asked for and what came of it.
func (c *call) tell(rt route, err error) {
	level := slog.LevelInfo
	if rt.data {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("asked", rt.asked), slog.String("path", short(c.r.URL.Path)), slog.String("remote", remoteOf(c.r))}
	if err != nil {
		p := problemOf(err)
		attrs = append(attrs, slog.String("refused", p.Code), slog.String("err", p.Detail))
	}
	c.l.logger.LogAttrs(context.WithoutCancel(c.r.Context()), level, "admin request", attrs...)
}

// readQuery refuses keys that the route does not know, and those that come twice.
func (c *call) readQuery(known []parameter) error {
	var err error
	if c.q, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return problem(CodeInvalid, "the query: "+err.Error())
	}
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.name
	}
	for name, values := range c.q {
		if !slices.Contains(names, name) {
			return problem(CodeInvalid, "the query has "+quoted(name)+"; it may have: "+strings.Join(names, ", "))
		}
		if len(values) > 1 {
			return problem(CodeInvalid, "the query has "+name+" twice")
		}
	}
	return nil
}

// number is a key of the query; otherwise if it is not there.
func (c *call) number(name string, lo, hi, otherwise int) (int, error) {
	if !c.q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(c.q.Get(name))
	if err != nil || n < lo || n > hi {
		return 0, problem(CodeInvalid, fmt.Sprintf("%s is %s; it must be within [%d, %d]", name, quoted(c.q.Get(name)), lo, hi))
	}
	return n, nil
}

// id is a key of the query that holds an id; 0 if it is not there.
func (c *call) id(name string) (uint64, error) {
	if c.q.Get(name) == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.q.Get(name), 10, 64)
	if err != nil {
		return 0, problem(CodeInvalid, name+" is "+quoted(c.q.Get(name))+", which is no id")
	}
	return n, nil
}

// truth is a key of the query; one without a value is true.
func (c *call) truth(name string) (bool, error) {
	if !c.q.Has(name) {
		return false, nil
	}
	if c.q.Get(name) == "" {
		return true, nil
	}
	b, err := strconv.ParseBool(c.q.Get(name))
	if err != nil {
		return false, problem(CodeInvalid, name+" is "+quoted(c.q.Get(name))+", which is neither true nor false")
	}
	return b, nil
}

// prefix is a key of the query that holds an address, or a network.
func (c *call) prefix(name string) (netip.Prefix, error) {
	text := c.q.Get(name)
	if text == "" {
		return netip.Prefix{}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, problem(CodeInvalid, name+" is "+quoted(text)+", which is neither an address nor a network such as 10.0.0.0/8")
	}
	return netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
}

// body reads a JSON body: one object, without fields that v does not have.
func (c *call) body(v any) error {
	text, err := io.ReadAll(c.r.Body)
	if err != nil {
		return bodyProblem(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return problem(CodeInvalid, "the body: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem(CodeInvalid, "the body: something follows the object")
	}
	return nil
}

// bodyProblem is an error of reading a body: it is too long, or did not come.
func bodyProblem(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return problem(CodeInvalid, "the body did not come: "+err.Error())
}

// message is what a body has of the two.
func message(text, encoded *string) (binary bool, p []byte, _ error) {
	switch {
	case (text == nil) == (encoded == nil):
		return false, nil, problem(CodeInvalid, "the body must have either text or base64")
	case text != nil:
		return false, []byte(*text), nil
	}
	p, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		return false, nil, problem(CodeInvalid, "base64: "+err.Error())
	}
	return true, p, nil
}

//go:embed openapi.json
var openAPI []byte

func (c *call) describe() error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(openAPI)
	return nil
}

// profiles are net/http/pprof's. A profile takes as long as it is asked to.
func (l *Listener) profiles(mux *http.ServeMux) {
	for path, handler := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			unhurried(w)
			handler(w, r)
		})
	}
}

// unhurried lifts the listener's deadlines from a request.
func unhurried(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // what cannot do that has no deadlines
	_ = control.SetWriteDeadline(time.Time{})
}
