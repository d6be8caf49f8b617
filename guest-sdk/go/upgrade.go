package weir

import (
	"strconv"
	"strings"
	"unsafe"
)

// Upgrade is a client's request to connect. It is good only inside the handler's Upgrade.
type Upgrade struct{ conn Conn }

// Reject makes the error that turns a client away with an HTTP status from 400 to 599:
//
//	return weir.Reject(401)
func Reject(status int) error { return rejection(status) }

type rejection int32

func (r rejection) Error() string { return "rejected with " + strconv.Itoa(int(r)) }

// Conn returns what the connection will be called if it is accepted.
func (u *Upgrade) Conn() Conn { return u.conn }

// URI returns the path and the query of the request, as sent.
func (u *Upgrade) URI() string {
	value, _ := read(upgradeURI)
	return string(value)
}

// Path returns the path of the request, as sent.
func (u *Upgrade) Path() string { return u.conn.Path() }

// Query returns the first value of a parameter of the query, decoded; empty if there is none.
func (u *Upgrade) Query(name string) string { return u.conn.Query(name) }

// Param returns the part of the path that the route calls name; empty if there is none.
func (u *Upgrade) Param(name string) string { return u.conn.Param(name) }

// RemoteAddr returns the client's address and port.
func (u *Upgrade) RemoteAddr() string { return u.conn.RemoteAddr() }

// Header returns any header of the request; several of one name are joined by ", ". It is empty if there is none.
func (u *Upgrade) Header(name string) string {
	value, _ := read(func(buf unsafe.Pointer, size uint32) int32 {
		return upgradeHeader(name, buf, size)
	})
	return string(value)
}

// Protocols returns the subprotocols that the client offers, those it prefers first.
func (u *Upgrade) Protocols() []string {
	var offered []string
	for name := range strings.SplitSeq(u.Header("Sec-WebSocket-Protocol"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			offered = append(offered, name)
		}
	}
	return offered
}

// SetProtocol picks one of the subprotocols that the client offers; ErrNotFound if it does not offer it.
func (u *Upgrade) SetProtocol(name string) error {
	return check("upgrade_protocol", upgradeProtocol(name))
}

// AddHeader adds a header to the response, whether it accepts or rejects.
func (u *Upgrade) AddHeader(name, value string) error {
	return check("upgrade_respond_header", upgradeRespondHeader(name, value))
}

// SetState stores what the connection's State returns from Open on: who was let in, for example.
func (u *Upgrade) SetState(state []byte) error { return u.conn.SetState(state) }
