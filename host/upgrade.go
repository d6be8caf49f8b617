package host

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gobwas/ws"

	"weir/runtime"
)

// upgrade answers one WebSocket request from memory: the request's head is in
// the reader, the response goes into the turn's replies, ws.Upgrader is between.
// A turn owns one and uses it again.
type upgrade struct {
	turn     *turn
	upgrader ws.Upgrader
	head     bytes.Reader

	// What the handler's upgrade event wants.
	picked    []byte // subprotocol; empty: the route decides
	responded []byte // "Name: value\r\n" lines

	agreed answered // about compression, with the request that is being answered
}

func (u *upgrade) bind(t *turn) {
	u.turn = t
	u.upgrader = ws.Upgrader{
		ReadBufferSize: max(readerBytes, int(t.srv.opts().Server.MaxHeaderSize)),
		Header:         u,
		Protocol:       u.wants,
	}
}

// Read implements io.Reader for ws.Upgrader: the head, and nothing behind it.
func (u *upgrade) Read(p []byte) (int, error) { return u.head.Read(p) }

// Write implements io.Writer for ws.Upgrader.
func (u *upgrade) Write(p []byte) (int, error) {
	u.turn.own = append(u.turn.own, p...)
	return len(p), nil
}

// WriteTo implements ws.HandshakeHeader: the response header fields of the handler,
// and what was agreed on.
func (u *upgrade) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(u.responded)
	return int64(n), err
}

// wants is ws.Upgrader's question for each subprotocol offered.
func (u *upgrade) wants(offered []byte) bool {
	if len(u.picked) > 0 {
		return bytes.Equal(offered, u.picked)
	}
	return slices.Contains(u.turn.conn.route.protocols, string(offered))
}

// pick is the handler's choice of a subprotocol, which must have been offered.
func (u *upgrade) pick(name []byte) runtime.Status {
	if len(name) > maxNameBytes || !isToken(name) {
		return runtime.StatusInvalid
	}
	r := &u.turn.request
	for i := range r.fields {
		if !equalFold(r.fields[i].name, "Sec-WebSocket-Protocol") {
			continue
		}
		for list := r.fields[i].value; len(list) > 0; {
			var item []byte
			item, list, _ = bytes.Cut(list, []byte(","))
			if bytes.Equal(bytes.Trim(item, " \t"), name) {
				u.picked = append(u.picked[:0], name...)
				return runtime.StatusOK
			}
		}
	}
	return runtime.StatusNotFound
}

// maxRespondBytes bounds the header fields that a handler adds to a response.
const maxRespondBytes = 4 << 10

// respond adds a response header field. Fields that make the handshake what it
// is stay the server's.
func (u *upgrade) respond(name, value []byte) runtime.Status {
	if len(u.responded)+len(name)+len(value)+4 > maxRespondBytes { // before anything looks at all of it
		return runtime.StatusTooBig
	}
	if !isToken(name) {
		return runtime.StatusInvalid
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7F {
			return runtime.StatusInvalid
		}
	}
	switch lower := strings.ToLower(string(name)); {
	case lower == "connection", lower == "upgrade", lower == "content-length", lower == "transfer-encoding",
		strings.HasPrefix(lower, "sec-websocket-"):
		return runtime.StatusDenied
	}
	u.responded = append(u.responded, name...)
	u.responded = append(u.responded, ": "...)
	u.responded = append(u.responded, value...)
	u.responded = append(u.responded, "\r\n"...)
	return runtime.StatusOK
}

// shake reads the request as far as it has come and answers it once it is whole.
// Nothing waits: what is missing stays with the connection until more comes or
// the time is up.
func (c *Conn) shake(t *turn) verdict {
	if c.phase != phaseHandshake || t.bits&inRead == 0 && c.held == nil {
		return vDone
	}
	limits := &c.srv.opts().Server
	for {
		have, _ := t.reader.Peek(t.reader.Buffered())
		if len(have) > 0 && !tokenByte[have[0]] {
			c.answer(t, answers[http.StatusBadRequest], causeRejected) // TLS, or no HTTP at all
			return vDone
		}
		have = have[:min(len(have), int(limits.MaxHeaderSize))]
		n := headEnd(have)
		if n > 0 {
			return c.answerRequest(t, have[:n])
		}
		if n < 0 {
			c.answer(t, answers[http.StatusBadRequest], causeRejected)
			return vDone
		}
		if len(have) == int(limits.MaxHeaderSize) {
			status := http.StatusRequestHeaderFieldsTooLarge
			if bytes.IndexByte(have, '\n') < 0 {
				status = http.StatusRequestURITooLong
			}
			c.answer(t, answers[status], causeRejected)
			return vDone
		}
		if !t.fill() {
			if t.src.void {
				c.finish(t, closeInfo{cause: causeTLS})
			}
			return vDone
		}
	}
}

// answerRequest decides about a whole request head. It may run twice for one
// request, when the handler's instance has to be waited for.
func (c *Conn) answerRequest(t *turn, head []byte) verdict {
	s := c.srv
	r := &t.request
	reject := func(status int) verdict {
		c.answer(t, answers[status], causeRejected)
		return vDone
	}
	if status := r.parse(head, int(s.opts().Server.MaxURISize), s.opts().Server.MaxHeaders); status != 0 {
		return reject(status)
	}
	if !c.identify(r) {
		a := answers[http.StatusServiceUnavailable]
		a.reason = rejectedMaxPerIP
		c.answer(t, a, causeRejected)
		return vDone
	}
	if !r.isUpgrade() {
		c.toHTTP(t)
		return vDone
	}
	if status := r.checkUpgrade(); status != 0 {
		return reject(status)
	}
	var ok bool
	if t.upgrade.agreed, ok = r.negotiate(s.opts().deflate); !ok {
		return reject(http.StatusBadRequest)
	}
	path, _, _ := bytes.Cut(r.target, []byte("?"))
	rt := s.routeFor(path)
	if rt == nil {
		return reject(http.StatusNotFound)
	}
	origin, _ := r.one("Origin")
	host, _ := r.one("Host")
	if len(origin) > 0 && !s.opts().origins.plainlySame(origin, host) && !s.opts().origins.allow(string(origin), string(host)) {
		if s.strangers.pass(t.now) {
			s.log.Info("upgrade refused: the page is of another origin", "origin", clip(string(origin), 128), "host", clip(string(host), 128), "route", rt.pattern.text)
		}
		return reject(http.StatusForbidden)
	}
	if !c.attach(rt, path) {
		return reject(http.StatusServiceUnavailable)
	}
	c.attrs = c.describe(r)

	u := &t.upgrade
	if c.crew().mod.Handles(runtime.EventUpgrade) && c.told&toldUpgrade == 0 {
		switch v := t.acquire(c.route.cell, c); v {
		case vDone:
		case vSkip:
			return c.accept(t, head)
		default:
			return v
		}
		c.told |= toldUpgrade
		if status := t.invoke(c, runtime.EventUpgrade, 0, 0); status != 0 {
			if status < 400 || status > 599 {
				status = http.StatusInternalServerError
				u.responded = u.responded[:0]
			}
			c.answer(t, answerFor(int(status)), causeRejected)
			return vDone
		}
	}
	return c.accept(t, head)
}

// accept sends the 101 response and opens the connection.
func (c *Conn) accept(t *turn, head []byte) verdict {
	u := &t.upgrade
	u.head.Reset(head)
	if u.agreed.keeps() && !c.srv.reserve(u.agreed.keepsBytes()) {
		u.agreed.forget()
	}
	handlers := len(u.responded)
	if u.agreed.compresses() {
		u.responded = u.agreed.appendTo(u.responded)
	}
	hs, err := u.upgrader.Upgrade(u)
	u.responded = u.responded[:handlers]
	if err != nil || !t.claim() {
		if u.agreed.keeps() {
			c.srv.compression.kept.Add(-u.agreed.keepsBytes())
		}
		// The checks above are stricter than ws.Upgrader's own.
		t.own = t.own[:t.ownDone]
		if c.srv.strangers.pass(t.now) {
			c.srv.log.Error("upgrade refused after it was checked", "err", err)
		}
		c.answer(t, answers[http.StatusBadRequest], causeRejected)
		return vDone
	}
	t.ownDone = len(t.own)
	t.reader.Discard(len(head))
	if hs.Protocol != "" {
		c.attrs = c.route.speaking(hs.Protocol, c.attrs)
	}
	c.leaveHandshake()
	if c.agreed = u.agreed.agreement; c.agreed.keeps() {
		c.remember()
	}
	c.phase = phaseOpen
	c.openedAt = uint32(c.srv.clock.UnixMilli() / 1000)
	if c.srv.drainEnds.Load() != 0 { // it came in time to be let in
		c.ask(causeDrain.info())
		t.bits |= inClose
	}
	c.owner.Store(c.route.tenant)
	c.lastHeard = t.now
	c.deadline = 0
	c.srv.wheel.schedule(&c.node, c.nextDeadline())
	t.stats.opened.Add(1)
	c.srv.byRoute.of(c.route.pattern.text).open.Add(1)
	if t.tails != nil {
		path, _, _ := strings.Cut(c.attrs.uri, "?")
		t.tails.show(tailOpen, c.route.tenant, c, &TailEvent{Path: path})
	}
	return vDone
}

// describe takes down what a handler may ask for later. The subprotocol is not
// known yet.
func (c *Conn) describe(r *request) *attrs {
	keep := c.crew().keepHeaders
	last := c.route.lastAttrs.Load()
	if last != nil && last.plain != nil {
		last = last.plain
	}
	if last != nil && last.uri == string(r.target) && slices.Equal(last.keep, keep) && r.says(keep, last.kept) {
		return last
	}
	a := &attrs{uri: string(r.target), keep: keep}
	if len(keep) > 0 {
		a.kept = make([]string, len(keep))
		for i, name := range keep {
			value, _ := r.header(name, nil)
			a.kept[i] = string(value)
		}
	}
	c.route.lastAttrs.Store(a)
	return a
}

// speaking is plain with a subprotocol.
func (r *route) speaking(protocol string, plain *attrs) *attrs {
	last := r.lastAttrs.Load()
	if last != nil && last.plain == plain && last.protocol == protocol {
		return last
	}
	a := &attrs{uri: plain.uri, protocol: protocol, keep: plain.keep, kept: plain.kept, plain: plain}
	r.lastAttrs.Store(a)
	return a
}

// response is an HTTP error answer.
type response struct {
	status int
	text   string
	extra  string // header lines
	reason rejection
}

// answers are the errors of a handshake.
var answers = map[int]response{
	http.StatusBadRequest:                  {400, "This is not a request that RFC 9112 and RFC 6455 allow.", "", rejectedMalformed},
	http.StatusForbidden:                   {403, "Pages of this origin may not connect.", "", rejectedOrigin},
	http.StatusNotFound:                    {404, "No WebSocket is served at this path.", "", rejectedNoRoute},
	http.StatusMethodNotAllowed:            {405, "A WebSocket begins with GET.", "Allow: GET\r\n", rejectedMethod},
	http.StatusRequestTimeout:              {408, "The request took too long.", "", rejectedTimeout},
	http.StatusRequestURITooLong:           {414, "The request target is too long.", "", rejectedURITooLong},
	http.StatusUpgradeRequired:             {426, "This server speaks WebSocket version 13.", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", rejectedVersion},
	http.StatusRequestHeaderFieldsTooLarge: {431, "The request's header is too large.", "", rejectedHeaderTooLarge},
	http.StatusInternalServerError:         {500, "The handler failed.", "", rejectedHandlerFailed},
	http.StatusServiceUnavailable:          {503, "The server is busy; try again.", "Retry-After: 1\r\n", rejectedUnavailable},
	http.StatusHTTPVersionNotSupported:     {505, "This server speaks HTTP/1.1.", "", rejectedHTTPVersion},
}

// answerFor is the answer to a handler's refusal.
func answerFor(status int) response {
	if a, ok := answers[status]; ok && status == http.StatusInternalServerError {
		return a
	}
	return response{status: status, text: http.StatusText(status), reason: rejectedByHandler}
}

// append writes a as an HTTP/1.1 response that ends the connection.
func (a response) append(dst []byte, extra []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.status)...)
	dst = append(dst, "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(a.text)+1), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, a.extra...)
	dst = append(dst, extra...)
	dst = append(dst, "\r\n"...)
	dst = append(dst, a.text...)
	return append(dst, '\n')
}

// answer refuses a request: the response, a FIN, and input thrown away.
func (c *Conn) answer(t *turn, a response, why cause) {
	if c.phase != phaseHandshake {
		return
	}
	if t.claim() {
		t.own = a.append(t.own[:t.ownDone], t.upgrade.responded)
		t.ownDone = len(t.own)
	}
	t.stats.rejected.Add(1)
	c.srv.rejected[a.reason].Add(1)
	c.finish(t, closeInfo{cause: why})
}
