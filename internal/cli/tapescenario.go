package cli

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"weir/runtime"
)

// writeScenario writes the tape as a scenario.
func (f *replayFlags) writeScenario(env *Env, tape *runtime.Tape, module string) error {
	steps, err := tape.Steps()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	subject := module
	if relative, err := filepath.Rel(filepath.Dir(f.scenario), module); err == nil {
		subject = relative
	}
	text := scenarioText(tape, steps, f.until, filepath.ToSlash(subject))
	if err := env.WriteFile(f.scenario, []byte(text), 0o600); err != nil { // it holds what clients sent
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s: %s\n", f.scenario, tapeLine(tape))
	return err
}

// scenarioWriter turns a tape's events into the steps of a scenario.
type scenarioWriter struct {
	strings.Builder
	tape    *runtime.Tape
	clients map[uint64]*tapeClient
	order   []*tapeClient       // by their first event
	topics  map[string][]uint64 // members, the first first; as far as the tape knows
	afterMs map[[2]int64]int64  // of timers, by connection and id
	everyMs map[[2]int64]int64
}

// tapeClient is one connection of a tape.
type tapeClient struct {
	name      string
	path      string
	protocol  string
	headers   [][2]string
	opened    bool
	closed    bool     // nothing more is said to or heard of it
	byHandler bool     // the handler has closed it
	hears     []string // what it is to hear next
}

// scenarioText is the text of a scenario file.
func scenarioText(tape *runtime.Tape, steps []runtime.TapeStep, until uint64, module string) string {
	w := &scenarioWriter{tape: tape, clients: map[uint64]*tapeClient{}, topics: map[string][]uint64{},
		afterMs: map[[2]int64]int64{}, everyMs: map[[2]int64]int64{}}
	fmt.Fprintf(w, "# From the tape of %s, generation %d, instance %d.\n", flat(tape.Module), tape.Generation, tape.Instance)
	w.WriteString("# Other instances of the module had events too, which are not on it: what they sent is missing here.\n")
	if tape.Start != runtime.TapeFromBirth {
		fmt.Fprintf(w, "# It begins with event %d: what the handler knew by then is missing too.\n", tape.First)
	}
	fmt.Fprintf(w, "module: %s\n", yamlText(module))
	fmt.Fprintf(w, "capabilities: [%s]\n", strings.Join(tape.Capabilities, ", "))
	for i := range steps {
		if steps[i].Number <= until {
			w.look(&steps[i])
		}
	}
	for i := range steps {
		if s := &steps[i]; s.Kind == runtime.StepEvent && s.Event == runtime.EventInit {
			if settings := s.Payload(); json.Valid(settings) && settings[0] == '{' && string(settings) != "{}" {
				fmt.Fprintf(w, "module_config: %s\n", settings)
			}
			break
		}
	}
	title := "what is on the tape"
	if tape.Trap != nil {
		title = fmt.Sprintf("event %d of the tape: %s", tape.Trap.Number, flat(tape.Trap.Message))
	}
	fmt.Fprintf(w, "scenarios:\n  - name: %s\n    steps:\n", yamlText(title))
	before := w.Len()
	for i := range steps {
		if s := &steps[i]; s.Number <= until && s.Kind == runtime.StepEvent {
			w.event(s)
		}
	}
	if w.Len() == before {
		w.line("advance: 0s")
	}
	return w.String()
}

// look gathers what is known of the connections, whenever the guest has asked for it.
func (w *scenarioWriter) look(s *runtime.TapeStep) {
	if s.Kind != runtime.StepEvent {
		return
	}
	if s.Conn != 0 {
		w.client(s.Conn)
	}
	for _, c := range s.Calls {
		if c.Status < 0 {
			continue
		}
		value := string(c.Value)
		switch c.Func {
		case "conn_attr":
			client := w.client(uint64(c.Numbers[0]))
			path, query, _ := strings.Cut(client.path, "?")
			switch name := string(c.Bytes[0]); {
			case name == "path":
				client.path = joinQuery(value, query)
			case name == "query":
				client.path = joinQuery(path, value)
			case name == "protocol":
				client.protocol = value
			case strings.HasPrefix(name, "param:") && path == "/": // the best there is, while nobody asks for the path
				client.path = joinQuery("/"+url.PathEscape(value), query)
			}
		case "upgrade_uri":
			w.client(s.Conn).path = value
		case "upgrade_protocol":
			w.client(s.Conn).protocol = string(c.Bytes[0])
		case "upgrade_header":
			w.client(s.Conn).header(string(c.Bytes[0]), value)
		}
	}
}

func joinQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// ownHeaders are those that a client sends without being told.
var ownHeaders = []string{"host", "upgrade", "connection", "origin"}

func (c *tapeClient) header(name, value string) {
	lower := strings.ToLower(name)
	if slices.Contains(ownHeaders, lower) || strings.HasPrefix(lower, "sec-websocket-") ||
		slices.ContainsFunc(c.headers, func(h [2]string) bool { return strings.EqualFold(h[0], name) }) {
		return
	}
	c.headers = append(c.headers, [2]string{name, value})
}

func (w *scenarioWriter) client(conn uint64) *tapeClient {
	c := w.clients[conn]
	if c == nil {
		c = &tapeClient{name: fmt.Sprintf("c%d", len(w.order)+1), path: "/"}
		w.clients[conn] = c
		w.order = append(w.order, c)
	}
	return c
}

func (w *scenarioWriter) line(format string, args ...any) {
	fmt.Fprintf(w, "      - "+format+"\n", args...)
}

func (w *scenarioWriter) comment(format string, args ...any) {
	fmt.Fprintf(w, "      # "+format+"\n", args...)
}

// event writes one event: what the client did, then what followed.
func (w *scenarioWriter) event(s *runtime.TapeStep) {
	var c *tapeClient
	if s.Conn != 0 {
		c = w.client(s.Conn)
		if c.closed && s.Event != runtime.EventOpen && s.Event != runtime.EventUpgrade {
			return
		}
	}
	if s.Trapped {
		w.comment("event %d trapped: %s", s.Number, w.trapText(s))
	}
	switch s.Event {
	case runtime.EventInit:
	case runtime.EventUpgrade:
		status := s.Result
		if status != 0 && (status < 400 || status > 599) || s.Trapped {
			status = 500
		}
		if s.Trapped { // which is not what shall happen
			status = 0
		}
		w.open(c, status)
	default:
		if c != nil && !c.opened {
			w.open(c, 0)
		}
		w.cause(s, c)
	}
	switch {
	case s.Trapped:
	case s.Event == runtime.EventUpgrade && s.Result != 0:
		return
	case s.Result != 0 && s.Event != runtime.EventInit:
		w.comment("event %d was refused with %d: nothing that it asked for was done", s.Number, s.Result)
	default:
		w.effects(s)
		w.expect()
	}
	if s.Event == runtime.EventClose && c != nil {
		c.closed = true
		for name, members := range w.topics {
			w.topics[name] = slices.DeleteFunc(members, func(m uint64) bool { return m == s.Conn })
		}
	}
}

func (w *scenarioWriter) trapText(s *runtime.TapeStep) string {
	if t := w.tape.Trap; t != nil && t.Number == s.Number {
		return flat(t.Message)
	}
	return s.Reason.String()
}

func (w *scenarioWriter) open(c *tapeClient, status int64) {
	c.opened = true
	path := c.path
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
		path = "/"
	}
	how := []string{"path: " + yamlText(path)}
	if c.protocol != "" {
		how = append(how, "protocols: ["+yamlText(c.protocol)+"]")
	}
	if len(c.headers) > 0 {
		var fields []string
		for _, h := range c.headers {
			fields = append(fields, yamlText(h[0])+": "+yamlText(h[1]))
		}
		how = append(how, "headers: {"+strings.Join(fields, ", ")+"}")
	}
	if status != 0 {
		how = append(how, fmt.Sprintf("status: %d", status))
		c.closed = true
	}
	if len(how) == 1 {
		w.line("open: {%s: %s}", c.name, yamlText(path))
		return
	}
	w.line("open: {%s: {%s}}", c.name, strings.Join(how, ", "))
}

const (
	closeNoCode   = 1005 // RFC 6455 §7.4.1: the frame had none
	closeNoFrame  = 1006 // there was no frame
	closeCodeMask = 1<<16 - 1
)

// cause writes what a client, or time, did.
func (w *scenarioWriter) cause(s *runtime.TapeStep, c *tapeClient) {
	switch {
	case s.Event == runtime.EventText && c != nil:
		w.line("send: {%s: {text: %s}}", c.name, yamlText(string(s.Payload())))
	case s.Event == runtime.EventBinary && c != nil:
		w.line("send: {%s: {bytes: %q}}", c.name, hex.EncodeToString(s.Payload()))
	case s.Event == runtime.EventClose && c != nil:
		if c.byHandler {
			return
		}
		switch code := s.Arg & closeCodeMask; code {
		case closeNoFrame:
			w.line("abort: [%s]", c.name)
		case closeNoCode:
			w.line("close: [%s]", c.name)
		default:
			w.line("close: {%s: {code: %d}}", c.name, code)
		}
	case s.Event == runtime.EventTimer:
		key := [2]int64{int64(s.Conn), s.Arg}
		if after, known := w.afterMs[key]; known {
			w.line("advance: %dms", after)
			w.afterMs[key] = w.everyMs[key]
			if w.everyMs[key] == 0 {
				delete(w.afterMs, key)
			}
			return
		}
		w.comment("timer %d is due; when it was set is not on the tape", s.Arg)
	case s.Event == runtime.EventDrain && c == nil:
		w.line("drain: true")
	}
}

// effects follows what an event has done, and notes what clients hear of it.
func (w *scenarioWriter) effects(s *runtime.TapeStep) {
	for _, c := range s.Calls {
		if c.Status < 0 {
			continue
		}
		switch c.Func {
		case "conn_send":
			w.hear(uint64(c.Numbers[0]), heard(c.Numbers[1], c.Bytes[0]))
		case "conn_close":
			conn, code := uint64(c.Numbers[0]), c.Numbers[1]
			w.hear(conn, fmt.Sprintf("{close: {code: %d}}", code))
			w.client(conn).byHandler = true
		case "topic_join":
			conn, topic := uint64(c.Numbers[0]), string(c.Bytes[0])
			if !slices.Contains(w.topics[topic], conn) {
				w.topics[topic] = append(w.topics[topic], conn)
			}
		case "topic_leave":
			conn, topic := uint64(c.Numbers[0]), string(c.Bytes[0])
			w.topics[topic] = slices.DeleteFunc(w.topics[topic], func(m uint64) bool { return m == conn })
		case "topic_publish":
			for _, conn := range w.topics[string(c.Bytes[0])] {
				if conn != uint64(c.Numbers[1]) {
					w.hear(conn, heard(c.Numbers[0], c.Bytes[1]))
				}
			}
		case "timer_set":
			key := [2]int64{c.Numbers[0], c.Numbers[1]}
			w.afterMs[key], w.everyMs[key] = c.Numbers[2], c.Numbers[3]
		}
	}
}

// heard is what matches a message.
func heard(kind int64, p []byte) string {
	const kindText = 1
	if kind != kindText {
		return fmt.Sprintf("{bytes: %q}", hex.EncodeToString(p))
	}
	text := string(p)
	if len(text) >= 2 && text[0] == '/' && text[len(text)-1] == '/' { // or it would be a regular expression
		text = "/^" + regexp.QuoteMeta(text) + "$/"
	}
	return "{text: " + yamlText(text) + "}"
}

func (w *scenarioWriter) hear(conn uint64, what string) {
	if c := w.clients[conn]; c != nil && c.opened && !c.closed && !c.byHandler {
		c.hears = append(c.hears, what)
	}
}

// expect writes what is to be heard.
func (w *scenarioWriter) expect() {
	var all []string
	for _, c := range w.order {
		switch len(c.hears) {
		case 0:
		case 1:
			all = append(all, c.name+": "+c.hears[0])
		default:
			all = append(all, c.name+": ["+strings.Join(c.hears, ", ")+"]")
		}
		c.hears = nil
	}
	if len(all) > 0 {
		w.line("expect: {%s}", strings.Join(all, ", "))
	}
}

// yamlText is a text in quotes. What JSON quotes, YAML takes.
func yamlText(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(strings.ToValidUTF8(s, "\uFFFD")); err != nil {
		panic(err) // a string always can
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// flat is s for a comment.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
