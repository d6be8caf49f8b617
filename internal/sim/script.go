package sim

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"weir/host"
)

// Await lets up to d of virtual time go by, and stops at the first moment at
// which done holds. It asks whenever nothing is left to be done at a moment, the
// present one first, and reports whether done held.
func (w *World) Await(d time.Duration, done func() bool) bool {
	end := w.clock.ns + int64(d)
	for {
		w.srv.Advance()
		w.Settle()
		if done() {
			return true
		}
		at := end + 1
		if t, ok := w.agenda.next(); ok {
			at = min(at, t)
		}
		if t, ok := w.srv.Next(); ok {
			at = min(at, t)
		}
		if w.broken != nil {
			return false
		}
		if at > end {
			break
		}
		w.clock.ns = max(at, w.clock.ns)
	}
	w.clock.ns = max(end, w.clock.ns)
	w.srv.Advance()
	w.Settle()
	return done()
}

// Reload makes m the next generation of the module of its name, as
// host.Server.Reload does, while every connection stays open.
func (w *World) Reload(m host.Module) (host.Reloaded, error) {
	if m.Instances == 0 {
		m.Instances = instances
	}
	w.trace.note(w.clock.ns, -1, "reload", len(m.Wasm))
	r, err := w.srv.Reload(context.Background(), m)
	w.Settle()
	return r, err
}

// Addr is the client's address, as the server sees it.
func (c *Client) Addr() netip.AddrPort { return c.sock.addr }

// Payload is what a Close frame with that code and reason carries.
func (c CloseFrame) Payload() []byte { return closePayload(c.Code, c.Reason) }

// Encode is a frame's bytes, masked by chance unless it says otherwise, for
// SendRaw.
func (c *Client) Encode(f Frame) []byte {
	if f.Mask == [4]byte{} {
		binary.LittleEndian.PutUint32(f.Mask[:], c.w.rng.Uint32())
	}
	c.said = c.said || f.Opcode == Close
	return f.Append(nil)
}
