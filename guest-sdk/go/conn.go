package weir

import (
	"time"
	"unsafe"
)

// Conn is a connection. It is a plain value that can be kept, compared, and used as the key of a map. It stays
// harmless when the connection is gone: calls then return ErrUnknownConnection.
type Conn uint64

// None is no connection at all: the module itself where timers are concerned.
const None Conn = 0

// Codes for Conn.Close. 3000 to 4999 are also allowed; 4000 to 4999 mean what client and handler agree on.
const (
	CloseNormal    = 1000 // the connection has done what it was for
	CloseGoingAway = 1001 // the server goes down
	ClosePolicy    = 1008 // the peer does what it must not
	CloseFailed    = 1011 // the handler cannot go on
	CloseRestart   = 1012 // come back at once
	CloseTryLater  = 1013 // come back when there is less to do
)

// Send queues a message for the connection. It leaves when the handler returns nil. ErrQueueFull says that the peer
// reads too slowly; no error says that the message was queued, not that it arrived.
func (c Conn) Send(m Message) error {
	return check("conn_send", connSend(uint64(c), int32(m.Kind), lend(m.Data)))
}

// SendText queues a text message, which must be UTF-8; otherwise it is like Send.
func (c Conn) SendText(text string) error {
	return check("conn_send", connSend(uint64(c), int32(KindText), text))
}

// SendBinary queues a binary message; otherwise it is like Send.
func (c Conn) SendBinary(data []byte) error {
	return check("conn_send", connSend(uint64(c), int32(KindBinary), lend(data)))
}

// Close closes the connection behind the messages queued so far. The reason is at most 123 bytes long. The handler's
// Close comes later, when the connection is gone.
func (c Conn) Close(code int, reason string) error {
	return check("conn_close", connClose(uint64(c), int32(code), reason))
}

// Queued returns how many bytes wait for the connection's socket; 0 when it is gone.
func (c Conn) Queued() int { return int(max(0, connQueued(uint64(c)))) }

// Join makes the connection a member of a topic, a name of 1 to 255 bytes. Joining again is no error. A connection
// leaves its topics by itself when it closes.
func (c Conn) Join(topic string) error { return check("topic_join", topicJoin(uint64(c), topic)) }

// Leave ends the connection's membership of a topic. Leaving a topic that it is not in is no error.
func (c Conn) Leave(topic string) error {
	return checkFound("topic_leave", topicLeave(uint64(c), topic))
}

// Attr reads an attribute, see ABI.md; ErrNotFound if there is none of that name. The methods that follow are easier.
func (c Conn) Attr(name string) (string, error) {
	value, status := read(func(buf unsafe.Pointer, size uint32) int32 {
		return connAttr(uint64(c), name, buf, size)
	})
	return string(value), check("conn_attr", status)
}

// attr reads an attribute, empty if there is none.
func (c Conn) attr(name string) string {
	value, _ := read(func(buf unsafe.Pointer, size uint32) int32 {
		return connAttr(uint64(c), name, buf, size)
	})
	return string(value)
}

// RemoteAddr returns the peer's address and port, such as 192.0.2.7:50123; empty on a Unix socket.
func (c Conn) RemoteAddr() string { return c.attr(attrRemoteAddr) }

// Path returns the path of the request, as sent.
func (c Conn) Path() string { return c.attr(attrPath) }

// RawQuery returns the query of the request without its question mark, as sent.
func (c Conn) RawQuery() string { return c.attr(attrQuery) }

// Query returns the first value of a parameter of the query, decoded; empty if there is none.
func (c Conn) Query(name string) string { return queryValue(c.RawQuery(), name) }

// Param returns the part of the path that the route calls name, as {room} in /chat/{room}, decoded; empty if there is
// none.
func (c Conn) Param(name string) string {
	sent := c.attr(attrParam + name)
	if value, ok := unescape(sent, false); ok {
		return value
	}
	return sent
}

// Header returns a header of the request, if the module's configuration asks to keep it; otherwise it is empty.
func (c Conn) Header(name string) string { return c.attr(attrHeader + name) }

// Protocol returns the subprotocol that was agreed on; empty if there is none.
func (c Conn) Protocol() string { return c.attr(attrProtocol) }

// State returns a copy of what SetState stored; nil if nothing was.
func (c Conn) State() []byte { return c.AppendState(nil) }

// ReadState is State for those who must tell a connection that has none from one that is gone (ErrUnknownConnection).
func (c Conn) ReadState() ([]byte, error) {
	state, status := read(func(buf unsafe.Pointer, size uint32) int32 {
		return connStateGet(uint64(c), buf, size)
	})
	return append([]byte(nil), state...), check("conn_state_get", status)
}

// AppendState appends what SetState stored to dst, without allocating if it fits.
func (c Conn) AppendState(dst []byte) []byte {
	state, _ := read(func(buf unsafe.Pointer, size uint32) int32 {
		return connStateGet(uint64(c), buf, size)
	})
	return append(dst, state...)
}

// SetState stores up to 16 KiB with the connection, for whatever instance serves its next event. The state survives
// when the module is replaced, so the next version must understand it.
func (c Conn) SetState(state []byte) error {
	return check("conn_state_set", connStateSet(uint64(c), lend(state)))
}

// After calls the handler's Timer with the given id once, in at least d. Timers end with their connection; those of
// None belong to the module.
func (c Conn) After(id int64, d time.Duration) error { return c.SetTimer(id, d, 0) }

// Every calls the handler's Timer with the given id again and again, for the first time in d.
func (c Conn) Every(id int64, d time.Duration) error { return c.SetTimer(id, d, d) }

// SetTimer calls the handler's Timer in after, and then every so often; once only if every is 0. It resets the timer
// that has the same id. The server counts in milliseconds and raises what is shorter than its minimum, 10 ms.
func (c Conn) SetTimer(id int64, after, every time.Duration) error {
	return check("timer_set", timerSet(uint64(c), id, millis(after), millis(every)))
}

// CancelTimer takes a timer back. One that is not set is no error.
func (c Conn) CancelTimer(id int64) error {
	return checkFound("timer_cancel", timerCancel(uint64(c), id))
}

// millis rounds up, so that a timer is never early; what is in the past is due now.
func millis(d time.Duration) int64 {
	d = max(d, 0)
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return int64(ms)
}
