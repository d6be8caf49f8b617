package scenario

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/host"
	"weir/internal/config"
	"weir/internal/sim"
	"weir/runtime"
)

// scenario turns a checked node into a scenario. Parts that have mistakes are
// left out.
func (l *loader) scenario(n *config.Node, key string) *Scenario {
	s := &Scenario{Line: n.Origin.Line}
	if n.Kind != config.MapNode {
		return s
	}
	l.opened, l.guess = map[string]bool{}, false
	if name := n.Get("name"); name != nil && name.Kind == config.TextNode {
		s.Name = name.Scalar.(string)
		if strings.TrimSpace(s.Name) == "" {
			l.at(name, key+".name", "is empty; say what is to happen")
		}
	}
	if skip := n.Get("skip"); skip != nil {
		switch v := skip.Scalar.(type) {
		case string:
			s.Skip = v
		case bool:
			if v {
				s.Skip = "skip: true"
			}
		}
	}
	if only := n.Get("only"); only != nil {
		s.Only = only.Scalar == true
	}
	s.steps = l.steps(n.Get("steps"), key+".steps")
	return s
}

func (l *loader) steps(list *config.Node, key string) []placed {
	if list == nil || list.Kind != config.ListNode {
		return nil
	}
	var all []placed
	for i, n := range list.Items {
		at := fmt.Sprintf("%s[%d]", key, i)
		if !l.fits(n, at) {
			l.guess = true
			continue
		}
		if l.count++; l.count > maxSteps {
			if l.count == maxSteps+1 {
				l.at(n, at, "the file has more than %d steps, those of repeats counted each time", maxSteps)
			}
			return all
		}
		var next *config.Node
		if i+1 < len(list.Items) {
			next = list.Items[i+1]
		}
		all = append(all, l.step(n, next, at))
	}
	return all
}

// fits reports that a node has no mistakes of form, its variables replaced, and
// notes those that it has.
func (l *loader) fits(n *config.Node, key string) bool {
	probe := mistakes{}
	probe.check(n, stepShape, key)
	for _, m := range probe.all {
		l.add(m.Mistake)
	}
	return len(probe.all) == 0
}

func (l *loader) step(n, next *config.Node, key string) placed {
	p := placed{line: n.Origin.Line, column: n.Origin.Column}
	if p.line <= len(l.lines) && p.line > 0 {
		p.source = strings.TrimSpace(l.lines[p.line-1])
	}
	for i, k := range n.Keys {
		name := k.Scalar.(string)
		if slices.Contains(stepShape.exactly, name) {
			p.kind = name
			p.action = l.action(name, n.Items[i], n, next, below(key, name))
		}
	}
	if w := n.Get("within"); w != nil && p.kind != "expect" {
		l.at(w, key+".within", "only expect takes it")
	}
	return p
}

func (l *loader) action(kind string, n, whole, next *config.Node, key string) action {
	switch kind {
	case "open":
		return l.connect(n, next, key)
	case "send":
		return l.send(n, key)
	case "close":
		return l.close(n, key)
	case "abort":
		return abort{l.names(n, key)}
	case "half_close":
		return halfClose{l.names(n, key)}
	case "slow":
		s := slow{}
		for i, k := range n.Keys {
			s.changes = append(s.changes, readerChange{l.client(k, key), n.Items[i].Scalar == true})
		}
		return s
	case "expect":
		return l.expect(n, whole.Get("within"), key)
	case "silence":
		return l.silence(n, key)
	case "advance":
		return advance{durationOf(n)}
	case "together":
		return l.together(n, key)
	case "repeat":
		return l.repeat(n, key)
	case "assert":
		return l.assert(n, key)
	case "reload":
		return l.reload(n, key)
	case "drain":
		return drain{}
	case "faults":
		return l.faults(n, key)
	}
	panic("scenario: a step that the table has and decode has not: " + kind)
}

// client is the name of a client that must have been opened before.
func (l *loader) client(n *config.Node, key string) string {
	name := n.Scalar.(string)
	if !l.opened[name] && !l.guess {
		known := slices.Sorted(maps.Keys(l.opened))
		h := hint(name, known)
		if h == "" {
			h = "; open: [" + name + "] does so"
		}
		l.at(n, key, "no client %q was opened before%s", name, h)
	}
	return name
}

func (l *loader) names(n *config.Node, key string) []string {
	var all []string
	for _, item := range n.Items {
		all = append(all, l.client(item, key))
	}
	return all
}

func durationOf(n *config.Node) time.Duration {
	d, _ := time.ParseDuration(n.Scalar.(string)) // it was checked
	return d
}

func textOf(n *config.Node) string {
	if n == nil {
		return ""
	}
	s, _ := n.Scalar.(string)
	return s
}

func intOf(n *config.Node, otherwise int) int {
	if n == nil {
		return otherwise
	}
	i, _ := wholeNumber(n.Scalar)
	return int(i)
}

func (l *loader) connect(n, next *config.Node, key string) action {
	var o open
	add := func(k *config.Node, c connection) {
		c.client = k.Scalar.(string)
		if c.client == "" {
			l.at(k, key, "a client needs a name")
		}
		if c.status == 0 {
			c.status, c.assumed = statusExpected(next, c.client)
		}
		l.opened[c.client] = true
		o.connections = append(o.connections, c)
	}
	if n.Kind == config.ListNode {
		for _, k := range n.Items {
			add(k, connection{path: "/"})
		}
		return o
	}
	for i, k := range n.Keys {
		how := n.Items[i]
		if how.Kind == config.TextNode {
			add(k, connection{path: how.Scalar.(string)})
			continue
		}
		c := connection{path: "/", status: intOf(how.Get("status"), 0)}
		if p := how.Get("path"); p != nil {
			c.path = textOf(p)
		}
		if list := how.Get("protocols"); list != nil {
			var offered []string
			for _, p := range list.Items {
				offered = append(offered, textOf(p))
			}
			c.headers = append(c.headers, "Sec-WebSocket-Protocol", strings.Join(offered, ", "))
		}
		if origin := how.Get("origin"); origin != nil {
			c.headers = append(c.headers, "Origin", textOf(origin))
		}
		if headers := how.Get("headers"); headers != nil {
			for j, h := range headers.Keys {
				if !headerName.MatchString(h.Scalar.(string)) {
					l.at(h, key+"."+k.Scalar.(string)+".headers", "%q is not the name of a header", h.Scalar)
				}
				c.headers = append(c.headers, h.Scalar.(string), textOf(headers.Items[j]))
			}
		}
		add(k, c)
	}
	return o
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110 §5.6.2

// statusExpected looks whether the next step expects a status of the client, or
// its end; then open leaves the judgement to it.
func statusExpected(next *config.Node, client string) (status int, assumed bool) {
	if next != nil && next.Kind == config.MapNode {
		if e := next.Get("expect"); e != nil && e.Kind == config.MapNode {
			m := e.Get(client)
			if m != nil && m.Kind == config.ListNode && len(m.Items) > 0 {
				m = m.Items[0]
			}
			if m != nil && m.Kind == config.MapNode && m.Get("status") != nil {
				return 0, true
			}
		}
	}
	return 101, false
}

func (l *loader) send(n *config.Node, key string) action {
	var s send
	for i, k := range n.Keys {
		to := below(key, k.Scalar.(string))
		c := l.client(k, key)
		list := []*config.Node{n.Items[i]}
		if n.Items[i].Kind == config.ListNode {
			list = n.Items[i].Items
		}
		for _, m := range list {
			s.messages = append(s.messages, outgoing{client: c, payload: l.payload(m, to)})
		}
	}
	return s
}

// payload is one message, or whatever else a client may send.
func (l *loader) payload(n *config.Node, key string) payload {
	var p payload
	for i, k := range n.Keys {
		v := n.Items[i]
		switch k.Scalar {
		case "text":
			p.opcode, p.data = sim.Text, []byte(textOf(v))
		case "json":
			p.opcode, p.data = sim.Text, l.json(v, key+".json")
		case "bytes":
			p.opcode = sim.Binary
			p.data, _ = parseHex(textOf(v))
		case "file":
			p.opcode, p.data = sim.Binary, l.open(v, key+".file", false)
		case "close":
			code, reason := l.closing(v, key+".close")
			p.opcode, p.data = sim.Close, sim.CloseFrame{Code: uint16(max(code, 0)), Reason: reason}.Payload()
		case "ping":
			p.opcode, p.data = sim.Ping, []byte(textOf(v))
			if len(p.data) > 125 {
				l.at(v, key+".ping", "%d bytes are more than a control frame holds (125)", len(p.data))
			}
		case "raw":
			p.raw = true
			p.data, _ = parseHex(textOf(v))
		case "split":
			p.split = intOf(v, 0)
		case "delay":
			p.delay = durationOf(v)
		}
	}
	if t := n.Get("times"); t != nil && n.Get("text") == nil && n.Get("bytes") == nil {
		l.at(t, key+".times", "repeats a text or bytes, and neither is here")
	} else {
		p.data = l.repeated(n, key, p.data)
	}
	return p
}

// maxTimesBytes bounds a message that is made of another by repeating it.
const maxTimesBytes = 16 << 20

// repeated is what a message holds, as often as its times says.
func (l *loader) repeated(n *config.Node, key string, data []byte) []byte {
	n = n.Get("times")
	if n == nil {
		return data
	}
	times := intOf(n, 1)
	if len(data)*times > maxTimesBytes {
		l.at(n, key+".times", "%d times %d bytes are more than %d", times, len(data), maxTimesBytes)
		return data
	}
	return bytes.Repeat(data, times)
}

func (l *loader) json(n *config.Node, key string) []byte {
	p, err := toJSON(n)
	if err != nil {
		l.at(n, key, "%v", err)
	}
	return p
}

// closing reads a code and a reason to send; without a code it is -1.
func (l *loader) closing(n *config.Node, key string) (code int, reason string) {
	code, reason = intOf(n.Get("code"), -1), textOf(n.Get("reason"))
	if r := n.Get("reason"); r != nil {
		switch {
		case code < 0:
			l.at(r, key+".reason", "a reason goes with a code only (RFC 6455 §5.5.1)")
		case len(reason) > 123:
			l.at(r, key+".reason", "%d bytes are more than a reason holds (123)", len(reason))
		}
	}
	return code, reason
}

func (l *loader) close(n *config.Node, key string) action {
	var c closeAll
	if n.Kind == config.ListNode {
		for _, name := range l.names(n, key) {
			c.clients = append(c.clients, leaving{name, 1000, ""})
		}
		return c
	}
	for i, k := range n.Keys {
		code, reason := l.closing(n.Items[i], below(key, k.Scalar.(string)))
		c.clients = append(c.clients, leaving{l.client(k, key), uint16(max(code, 0)), reason})
	}
	return c
}

func (l *loader) expect(n, within *config.Node, key string) action {
	e := expect{}
	limit := grace
	if within != nil {
		limit = durationOf(within)
	}
	for i, k := range n.Keys {
		of := below(key, k.Scalar.(string))
		want := expectation{client: l.client(k, key)}
		list := []*config.Node{n.Items[i]}
		if n.Items[i].Kind == config.ListNode {
			list = n.Items[i].Items
		}
		for _, m := range list {
			want.matches = append(want.matches, l.match(m, limit, of))
		}
		e.clients = append(e.clients, want)
	}
	return e
}

func (l *loader) match(n *config.Node, within time.Duration, key string) match {
	m := match{count: 1, within: within, code: -1}
	for i, k := range n.Keys {
		name, v := k.Scalar.(string), n.Items[i]
		switch name {
		case "count":
			m.count = intOf(v, 1)
			continue
		case "times":
			continue
		case "within":
			m.within = durationOf(v)
			continue
		}
		m.kind = name
		switch name {
		case "close":
			m.code = intOf(v.Get("code"), -1)
			if r := v.Get("reason"); r != nil {
				m.reason = true
				m.value = l.value("text", r, key+".close.reason")
			}
		case "status":
			m.status = intOf(v, 0)
		case "protocol":
			m.value = value{kind: "text", text: textOf(v)}
		case "any_order":
			for _, part := range v.Items {
				one := l.match(part, within, key+".any_order")
				if !one.isMessage() || one.kind == "any_order" {
					l.at(part, key+".any_order", "%s is not a message, which alone comes in some order", one.kind)
				}
				for range one.count {
					m.parts = append(m.parts, one)
				}
			}
		default:
			m.value = l.value(name, v, key+"."+name)
		}
	}
	if t := n.Get("times"); t != nil && (m.re != nil || m.kind != "text" && m.kind != "bytes") {
		l.at(t, key+".times", "repeats a text or bytes, and neither is here")
	} else {
		m.text = string(l.repeated(n, key, []byte(m.text)))
		m.bytes = l.repeated(n, key, m.bytes)
	}
	if c := n.Get("count"); c != nil && (!m.isMessage() || m.kind == "any_order") {
		l.at(c, key+".count", "counts messages, and %s is none", m.kind)
	}
	return m
}

// value is what a message or a state is to be.
func (l *loader) value(kind string, n *config.Node, key string) value {
	v := value{kind: kind}
	switch kind {
	case "text":
		v.text = textOf(n)
		v.re, _ = parsePattern(v.text) // it was checked
	case "bytes":
		v.bytes, _ = parseHex(textOf(n))
	default:
		v.bytes = l.json(n, key)
		v.json, _ = parseJSON(v.bytes)
	}
	return v
}

func (l *loader) silence(n *config.Node, key string) action {
	var s silence
	switch n.Kind {
	case config.TextNode:
		s.all = durationOf(n)
		s.everybody = true
	case config.ListNode:
		for _, name := range l.names(n, key) {
			s.clients = append(s.clients, quiet{name, grace})
		}
	default:
		for i, k := range n.Keys {
			s.clients = append(s.clients, quiet{l.client(k, key), durationOf(n.Items[i])})
		}
	}
	return s
}

func (l *loader) together(n *config.Node, key string) action {
	t := together{}
	for i, item := range n.Items {
		at := fmt.Sprintf("%s[%d]", key, i)
		p := l.step(item, nil, at)
		switch a := p.action.(type) {
		case simultaneous:
			if s, ok := p.action.(send); ok && s.takesTime() {
				l.at(item, at, "a message with a delay takes time, and nothing here does")
			}
			t.all = append(t.all, a.parts()...)
		default:
			l.at(item, at, "%s cannot be done together with others; open, send, close, abort, half_close and slow can", p.kind)
		}
	}
	return t
}

func (l *loader) repeat(n *config.Node, key string) action {
	r := repeat{}
	name := variableOf(n)
	before := len(l.all)
	for i := range intOf(n.Get("times"), 1) {
		body := substitute(n.Get("steps"), name, strconv.Itoa(i))
		r.turns = append(r.turns, l.steps(body, key+".steps"))
		if len(l.all) > before || l.count > maxSteps {
			break // the other turns would say the same
		}
	}
	return r
}

// substitute replaces what in every text below n. A text that is nothing else,
// and stands in no quotes, becomes a number.
func substitute(n *config.Node, what, number string) *config.Node {
	c := *n
	if s, ok := n.Scalar.(string); ok && strings.Contains(s, what) {
		c.Scalar = strings.ReplaceAll(s, what, number)
		if s == what && !n.Quoted {
			i, _ := strconv.ParseInt(number, 10, 64)
			c.Kind, c.Scalar = config.NumberNode, i
		}
	}
	c.Keys, c.Items = slices.Clone(n.Keys), slices.Clone(n.Items)
	for i, k := range c.Keys {
		key := *k
		key.Scalar = strings.ReplaceAll(k.Scalar.(string), what, number)
		c.Keys[i] = &key
	}
	for i, item := range c.Items {
		c.Items[i] = substitute(item, what, number)
	}
	return &c
}

func (l *loader) assert(n *config.Node, key string) action {
	a := assert{connections: -1}
	if m := n.Get("module"); m != nil {
		a.module = textOf(m)
		if l.moduleIndex(a.module) < 0 && len(l.file.modules) > 0 {
			l.at(m, key+".module", "there is no module %q%s", a.module, hint(a.module, l.moduleNames()))
		}
	}
	if topics := n.Get("topics"); topics != nil {
		if a.module == "" && len(l.file.modules) > 1 {
			l.at(topics, key+".topics", "each module has topics of its own; say which with module: one of %s", strings.Join(l.moduleNames(), ", "))
		} else if a.module == "" && len(l.file.modules) == 1 {
			a.module = l.file.modules[0].Name
		}
		for i, k := range topics.Keys {
			a.topics = append(a.topics, figure{textOf(k), intOf(topics.Items[i], 0)})
		}
	}
	if c := n.Get("connections"); c != nil {
		a.connections = intOf(c, 0)
	}
	if states := n.Get("state"); states != nil {
		for i, k := range states.Keys {
			for j, kind := range states.Items[i].Keys {
				a.states = append(a.states, stateWanted{l.client(k, key+".state"), l.value(textOf(kind), states.Items[i].Items[j], key+".state")})
			}
		}
	}
	if metrics := n.Get("metrics"); metrics != nil {
		for i, k := range metrics.Keys {
			name := textOf(k)
			if !knownMetric(name, l.file.modules) && !(strings.HasPrefix(name, appPrefix) && len(l.file.modules) == 0) { // they have mistakes
				h := hint(name, metricNames())
				switch {
				case strings.HasPrefix(name, appPrefix):
					h = "; no module declares it (modules.NAME.metrics)"
				case h == "":
					h = "; there are " + strings.Join(metricNames(), ", ") + ", closes.CAUSE and app.NAME"
				}
				l.at(k, key+".metrics", "unknown metric %q%s", name, h)
			}
			a.metrics = append(a.metrics, figure{name, intOf(metrics.Items[i], 0)})
		}
	}
	return a
}

func (l *loader) moduleNames() []string {
	var names []string
	for _, m := range l.file.modules {
		names = append(names, m.Name)
	}
	return names
}

func (l *loader) moduleIndex(name string) int {
	return slices.IndexFunc(l.file.modules, func(m host.Module) bool { return m.Name == name })
}

func (l *loader) reload(n *config.Node, key string) action {
	var r reload
	add := func(i int, file *config.Node) {
		m := l.file.modules[i]
		m.Wasm = l.open(file, key, true)
		r.modules = append(r.modules, m)
		r.files = append(r.files, textOf(file))
	}
	switch {
	case len(l.file.modules) == 0: // they have mistakes
	case n.Kind == config.TextNode && len(l.file.modules) > 1:
		l.at(n, key, "say which module: {NAME: FILE}, where NAME is one of %s", strings.Join(l.moduleNames(), ", "))
	case n.Kind == config.TextNode:
		add(0, n)
	default:
		for i, k := range n.Keys {
			j := l.moduleIndex(textOf(k))
			if j < 0 {
				l.at(k, key, "there is no module %q%s", k.Scalar, hint(textOf(k), l.moduleNames()))
				continue
			}
			add(j, n.Items[i])
		}
	}
	return r
}

func (l *loader) faults(n *config.Node, key string) action {
	if n.Kind == config.TextNode {
		if textOf(n) == "none" {
			return setFaults{}
		}
		set, _ := sim.ParseFaults(strings.Join(faultNames, "+"))
		return setFaults{set: set}
	}
	var set sim.Faults
	var calls []callFault
	for i, item := range n.Items {
		if item.Kind == config.MapNode {
			calls = append(calls, callFault{
				call: textOf(item.Get("call")), nth: intOf(item.Get("nth"), 0), status: runtime.Errors()[textOf(item.Get("error"))],
			})
			continue
		}
		one, err := sim.ParseFaults(textOf(item))
		if err != nil {
			l.at(item, fmt.Sprintf("%s[%d]", key, i), "%v", err)
		}
		set |= one
	}
	return setFaults{set, calls}
}
