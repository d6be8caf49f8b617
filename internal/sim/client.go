package sim

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is a whole message that a client has received.
type Message struct {
	// Opcode is Text or Binary.
	Opcode Opcode
	// Payload belongs to whoever took the message.
	Payload []byte
	// At is when its last byte came, since the world began.
	At time.Duration
}

// String shows the message as errors do.
func (m Message) String() string { return show(m.Opcode, m.Payload) }

// Client is the far end of one connection: a program that speaks WebSocket,
// right or wrong as its caller likes. It reads what arrives by itself, unless it
// was paused; what it understood waits for Take.
type Client struct {
	// Polite makes the client answer pings and Close frames as RFC 6455 wants.
	// It is on at first.
	Polite bool

	w    *World
	name string
	sock *socket // what the server has
	up   *pipe

	key       string // of the handshake; empty before the request was sent
	status    int    // of the response; 0 before it has come
	header    http.Header
	opened    bool // 101
	buf       []byte
	parts     []byte // of a fragmented message
	partsOp   Opcode
	messages  []Message
	pings     int
	pongs     []string
	closing   *CloseFrame // the server's
	said      bool        // our Close frame is out
	finSent   bool
	gone      bool // our end is closed or broken off: nothing is read any more
	ended     bool // the server's FIN or a reset came, or we are gone
	broken    bool // … and it was a reset
	truncated bool // … within a frame

	paused bool
	window [][]byte // arrived while paused
	tail   []ending // ends that arrived while paused

	heard func(Message) // takes messages instead of Take
	log   [24]line
	lines int
}

// line is one entry of a client's traffic.
type line struct {
	at   int64
	dir  byte // '>' sent, '<' received, '!' else
	text string
	op   Opcode
	size int
	head [40]byte
}

// Name is what the client is called.
func (c *Client) Name() string { return c.name }

// Connect opens a TCP connection and says nothing. A client of that name must
// have ended, or not exist.
func (w *World) Connect(name string) (*Client, error) {
	if old := w.clients[name]; old != nil && !old.ended {
		return nil, fmt.Errorf("client %s is connected already", name)
	}
	if len(w.listeners) == 0 {
		return nil, errors.New("nobody listens")
	}
	c := &Client{w: w, name: name, Polite: true}
	c.connect()
	if w.clients[name] == nil {
		w.names = append(w.names, name)
	}
	w.clients[name] = c
	return c, nil
}

// connect makes the connection's two pipes and sends its SYN.
func (c *Client) connect() {
	w := c.w
	s := &socket{w: w, id: w.connections, addr: clientAddr(w.connections), buffer: sendBuffer, fresh: leastBuffer}
	w.connections++
	if w.faults.Has(Choke) {
		s.buffer = leastBuffer << w.rng.IntN(8)
	}
	c.up = &pipe{w: w, arrive: s.arrive}
	s.down = &pipe{w: w, arrive: c.arrive}
	c.sock = s
	ln := w.listeners[0]
	c.note('!', "connects")
	arrive := c.up.arrive
	c.up.arrive = func(segment) { // the SYN comes before all bytes
		c.up.arrive = arrive
		ln.arrive(s)
	}
	c.up.put(segment{})
}

// Open connects and asks for a WebSocket at path, which may have a query.
// headers are alternately names and values of further fields of the request.
// The answer comes with time: see Opened and Status.
func (w *World) Open(name, path string, headers ...string) (*Client, error) {
	if len(headers)%2 != 0 {
		return nil, fmt.Errorf("open %s: %q has a name too many", name, headers)
	}
	c, err := w.Connect(name)
	if err != nil {
		return nil, err
	}
	c.Request(path, headers...)
	return c, nil
}

// Request sends the request of a handshake.
func (c *Client) Request(path string, headers ...string) {
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:], c.w.rng.Uint64())
	binary.LittleEndian.PutUint64(nonce[8:], c.w.rng.Uint64())
	c.key = base64.StdEncoding.EncodeToString(nonce[:])
	b := make([]byte, 0, 256)
	b = append(b, "GET "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	b = append(b, c.key...)
	for i := 0; i+1 < len(headers); i += 2 {
		b = append(b, "\r\n"...)
		b = append(b, headers[i]...)
		b = append(b, ": "...)
		b = append(b, headers[i+1]...)
	}
	c.note('>', "request "+path)
	c.send(append(b, "\r\n\r\n"...))
}

// send puts bytes on their way, which are the connection's from now on.
func (c *Client) send(p []byte) {
	if c.finSent || c.gone || len(p) == 0 {
		return
	}
	c.w.trace.note(c.w.clock.ns, c.sock.id, "client sends", len(p))
	c.w.trace.bytes(p)
	c.up.send(p)
}

// SendRaw sends bytes as they are.
func (c *Client) SendRaw(p []byte) {
	c.noteFrame('>', 0xFF, p)
	c.send(bytes.Clone(p))
}

// SendFrame sends a frame, masked by chance unless it says otherwise.
func (c *Client) SendFrame(f Frame) {
	if f.Mask == [4]byte{} {
		binary.LittleEndian.PutUint32(f.Mask[:], c.w.rng.Uint32())
	}
	c.noteFrame('>', f.Opcode, f.Payload)
	c.said = c.said || f.Opcode == Close
	c.send(f.Append(make([]byte, 0, len(f.Payload)+14)))
}

// SendText sends a text message.
func (c *Client) SendText(s string) { c.SendFrame(Frame{Opcode: Text, Payload: []byte(s)}) }

// SendBinary sends a binary message.
func (c *Client) SendBinary(p []byte) { c.SendFrame(Frame{Opcode: Binary, Payload: p}) }

// Ping sends a ping.
func (c *Client) Ping(payload string) { c.SendFrame(Frame{Opcode: Ping, Payload: []byte(payload)}) }

// Close sends a Close frame; code 0 leaves it empty. A polite client ends the
// connection when the server has answered.
func (c *Client) Close(code uint16, reason string) {
	c.SendFrame(Frame{Opcode: Close, Payload: closePayload(code, reason)})
}

// CloseWrite sends a FIN and goes on reading.
func (c *Client) CloseWrite() {
	if c.finSent || c.gone {
		return
	}
	c.finSent = true
	c.note('>', "FIN")
	c.up.put(segment{end: endFIN})
}

// Hangup closes the client's end: a FIN, and a reset for whatever comes after.
func (c *Client) Hangup() {
	c.CloseWrite()
	c.leave("hangs up")
}

// Abort breaks the connection off with a reset. Bytes on their way to the
// server may be lost.
func (c *Client) Abort() {
	if c.gone {
		return
	}
	if c.w.rng.IntN(2) == 0 {
		c.up.drop()
	}
	c.up.put(segment{end: endRST})
	c.finSent = true
	c.leave("aborts")
}

// leave stops reading for good.
func (c *Client) leave(how string) {
	if !c.gone {
		c.gone, c.ended = true, true
		c.window, c.tail = nil, nil
		c.note('!', how)
	}
}

// Pause stops reading: bytes pile up on the way until the server can write no
// more.
func (c *Client) Pause() {
	if !c.paused {
		c.paused = true
		c.note('!', "stops reading")
	}
}

// Resume reads on, all that waits first.
func (c *Client) Resume() {
	if !c.paused {
		return
	}
	c.paused = false
	c.note('!', "reads on")
	window, tail := c.window, c.tail
	c.window, c.tail = nil, nil
	for _, p := range window {
		c.sock.taken(len(p))
		c.read(p)
	}
	for _, e := range tail {
		c.end(e)
	}
}

// arrive takes a segment from the server.
func (c *Client) arrive(seg segment) {
	w := c.w
	switch {
	case c.gone:
		if len(seg.data) > 0 {
			c.sock.taken(len(seg.data))
			c.sock.arrive(segment{end: endRST}) // nobody is here
		}
	case seg.end == endRST && c.paused:
		c.window = nil // what the client has not read is lost
		c.tail = append(c.tail, endRST)
	case seg.end != endNone && c.paused:
		c.tail = append(c.tail, seg.end)
	case seg.end != endNone:
		c.end(seg.end)
	case c.paused:
		c.window = append(c.window, seg.data)
	case len(seg.data) > 0:
		w.trace.note(w.clock.ns, c.sock.id, "client receives", len(seg.data))
		c.sock.taken(len(seg.data))
		c.read(seg.data)
	}
}

// end notes that the server ended the stream, or broke it off.
func (c *Client) end(e ending) {
	c.w.trace.note(c.w.clock.ns, c.sock.id, "client sees the end", int(e))
	c.ended = true
	if e == endRST {
		c.broken, c.gone = true, true
		c.note('<', "reset")
		return
	}
	c.note('<', "FIN")
	if len(c.buf) > 0 && c.opened {
		c.truncated = true
	}
	if c.Polite {
		c.CloseWrite()
	}
}

// read understands bytes.
func (c *Client) read(p []byte) {
	if c.ended && !c.gone {
		c.violate("bytes behind the FIN")
	}
	c.buf = append(c.buf, p...)
	if !c.opened && !c.readResponse() {
		return
	}
	for len(c.buf) > 0 {
		op, more, payload, n, err := parseServerFrame(c.buf)
		if err != nil {
			c.violate(err.Error())
			c.buf = nil
			return
		}
		if n == 0 {
			return
		}
		c.noteFrame('<', op, payload)
		if c.closing != nil {
			c.violate(fmt.Sprintf("a frame (%v) behind the Close frame", op))
		}
		c.take(op, more, payload)
		c.buf = c.buf[n:]
	}
	c.buf = nil
}

// readResponse reads the answer to the handshake; true when it is 101 and
// frames follow.
func (c *Client) readResponse() bool {
	if c.status != 0 {
		return false // the rest of a refusal
	}
	end := bytes.Index(c.buf, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(c.buf[:end+4])), nil)
	if err != nil {
		c.violate("a response that is not HTTP: " + err.Error())
		return false
	}
	c.status, c.header = resp.StatusCode, resp.Header
	c.note('<', resp.Status)
	if c.status != http.StatusSwitchingProtocols {
		return false
	}
	sum := sha1.Sum([]byte(c.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if c.key == "" || c.header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		c.violate("the response does not fit the request's key (RFC 6455 §4.1)")
	}
	c.opened = true
	c.buf = c.buf[end+4:]
	return true
}

// take handles one frame, whose payload it must copy.
func (c *Client) take(op Opcode, more bool, payload []byte) {
	switch op {
	case Ping:
		c.pings++
		if c.Polite && !c.said {
			c.SendFrame(Frame{Opcode: Pong, Payload: bytes.Clone(payload)})
		}
	case Pong:
		c.pongs = append(c.pongs, string(payload))
	case Close:
		end, err := parseClose(payload)
		if err != nil {
			c.violate(err.Error())
		}
		c.closing = &end
		if c.Polite && !c.said {
			c.Close(end.Code, "")
		}
	case Text, Binary, Continuation:
		if (op == Continuation) == (c.partsOp == 0) {
			c.violate("fragments out of order (RFC 6455 §5.4)")
		}
		if op != Continuation {
			c.partsOp = op
		}
		c.parts = append(c.parts, payload...)
		if more {
			return
		}
		m := Message{Opcode: c.partsOp, Payload: c.parts, At: c.w.Now()}
		c.parts, c.partsOp = nil, 0
		if m.Opcode == Text && !utf8.Valid(m.Payload) {
			c.violate("a text message is not UTF-8 (RFC 6455 §8.1)")
		}
		if c.heard != nil {
			c.heard(m)
		} else {
			c.messages = append(c.messages, m)
		}
	}
}

// Take returns the messages that have come since it was called last.
func (c *Client) Take() []Message {
	m := c.messages
	c.messages = nil
	return m
}

// Next takes the oldest message, if there is one.
func (c *Client) Next() (Message, bool) {
	if len(c.messages) == 0 {
		return Message{}, false
	}
	m := c.messages[0]
	c.messages = c.messages[1:]
	return m, true
}

// Opened reports that the server has answered 101.
func (c *Client) Opened() bool { return c.opened }

// Status is the status of the server's answer; 0 before it has come.
func (c *Client) Status() int { return c.status }

// Header holds the fields of the server's answer; nil before it has come.
func (c *Client) Header() http.Header { return c.header }

// Closed is the server's Close frame; nil while none has come.
func (c *Client) Closed() *CloseFrame { return c.closing }

// Ended reports that nothing will come any more: the server ended its stream or
// reset the connection, or this end is gone.
func (c *Client) Ended() bool { return c.ended }

// Broken reports that the server has reset the connection.
func (c *Client) Broken() bool { return c.broken }

// Truncated reports that the server ended its stream within a frame.
func (c *Client) Truncated() bool { return c.truncated }

// Pings counts the server's pings.
func (c *Client) Pings() int { return c.pings }

// Pongs returns the payloads of the pongs that have come so far.
func (c *Client) Pongs() []string { return slices.Clone(c.pongs) }

// Expect takes the next message and holds it against a text message; the error
// tells both, and what went over the connection last.
func (c *Client) Expect(text string) error {
	m, ok := c.Next()
	if ok && m.Opcode == Text && string(m.Payload) == text {
		return nil
	}
	got := "nothing"
	if ok {
		got = m.String()
	}
	return c.Mismatch(show(Text, []byte(text)), got)
}

// ExpectClose holds the server's Close frame against a code.
func (c *Client) ExpectClose(code uint16) error {
	switch {
	case c.closing == nil:
		return c.Mismatch(fmt.Sprintf("close %d", code), "no Close frame")
	case c.closing.Code != code:
		return c.Mismatch(fmt.Sprintf("close %d", code), c.closing.String())
	default:
		return nil
	}
}

// ExpectSilence reports what has come, if something has.
func (c *Client) ExpectSilence() error {
	switch {
	case len(c.messages) > 0:
		return c.Mismatch("silence", c.messages[0].String())
	case c.closing != nil:
		return c.Mismatch("silence", c.closing.String())
	default:
		return nil
	}
}

// Mismatch is an error that tells what was expected and what came, with the
// client's last traffic.
func (c *Client) Mismatch(want, got string) error {
	return fmt.Errorf("%s at %v: expected %s, got %s; traffic:\n  %s",
		c.name, c.w.Now(), want, got, strings.Join(c.Traffic(), "\n  "))
}

// violate reports that the server broke the protocol.
func (c *Client) violate(what string) {
	c.w.violate("the protocol", "%s (#%d): %s; traffic:\n  %s", c.name, c.sock.id, what, strings.Join(c.Traffic(), "\n  "))
}

// Traffic lists what went over the connection last, oldest first: '>' from the
// client, '<' from the server.
func (c *Client) Traffic() []string {
	var out []string
	for i := max(0, c.lines-len(c.log)); i < c.lines; i++ {
		l := &c.log[i%len(c.log)]
		text := l.text
		if text == "" {
			text = show(l.op, l.head[:min(l.size, len(l.head))])
			if l.size > len(l.head) {
				text += fmt.Sprintf("… (%d bytes)", l.size)
			}
		}
		out = append(out, fmt.Sprintf("%12v %c %s", time.Duration(l.at-epoch), l.dir, text))
	}
	return out
}

func (c *Client) note(dir byte, text string) {
	c.log[c.lines%len(c.log)] = line{at: c.w.clock.ns, dir: dir, text: text}
	c.lines++
}

func (c *Client) noteFrame(dir byte, op Opcode, payload []byte) {
	l := line{at: c.w.clock.ns, dir: dir, op: op, size: len(payload)}
	copy(l.head[:], payload)
	c.log[c.lines%len(c.log)] = l
	c.lines++
}

// show writes a payload as people read it.
func show(op Opcode, p []byte) string {
	switch {
	case op == 0xFF:
		return fmt.Sprintf("bytes %q", p)
	case op == Close && len(p) >= 2:
		return CloseFrame{binary.BigEndian.Uint16(p), string(p[2:])}.String()
	case op == Binary || !utf8.Valid(p):
		return fmt.Sprintf("%v %x", op, p)
	default:
		return fmt.Sprintf("%v %q", op, p)
	}
}
