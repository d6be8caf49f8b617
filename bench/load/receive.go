package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// receiver is where the parser of a connection stands. The zero value stands
// before the first frame.
type receiver struct {
	head    [maxHeaderBytes]byte // of a header that is incomplete
	headN   int
	inFrame bool   // behind a header, before the end of its payload
	left    uint64 // bytes to come of the frame's payload
	control byte   // opcode if the frame is a control frame, else 0
	ctl     []byte // its payload so far
	fin     bool   // the data frame ends its message
	inMsg   bool   // behind a data frame that did not
	packed  []byte // the payload of a compressed message so far
	isPack  bool   // it is one
	offset  int    // in the message's payload (raw: in the message)
}

func (r *receiver) reset() { *r = receiver{ctl: r.ctl[:0], packed: r.packed[:0]} }

// consume takes bytes that arrived on an open connection, checks them, and
// tells the sink of each whole message.
func (k *client) consume(c *conn, p []byte, now int64) error {
	if k.o.Raw {
		return k.consumeRaw(c, p, now)
	}
	in := &c.in
	for len(p) > 0 {
		if !in.inFrame {
			used, err := k.beginFrame(c, p)
			if err != nil {
				return err
			}
			p = p[used:]
			if !in.inFrame {
				return nil // the header is incomplete
			}
		}
		n := int(min(uint64(len(p)), in.left))
		if in.control != 0 {
			in.ctl = append(in.ctl, p[:n]...)
		} else if in.isPack {
			in.packed = append(in.packed, p[:n]...)
		} else {
			if err := checkPayload(p[:n], in.offset, k.tmpl, k.sender(c).id, k.stamped(c)); err != nil {
				return err
			}
			in.offset += n
		}
		p = p[n:]
		if in.left -= uint64(n); in.left > 0 {
			return nil
		}
		if err := k.endFrame(c, now); err != nil {
			return err
		}
	}
	return nil
}

// beginFrame reads a header at the start of p, continuing one that was
// incomplete, and returns how many bytes of p it took.
func (k *client) beginFrame(c *conn, p []byte) (used int, _ error) {
	in := &c.in
	head := p
	if in.headN > 0 {
		head = in.head[:in.headN+copy(in.head[in.headN:], p)]
	}
	h, err := parseHeader(head)
	if err != nil {
		return 0, fmt.Errorf("load: connection %d: %w", c.id, err)
	}
	if h.bytes == 0 {
		in.headN = copy(in.head[:], head)
		return len(p), nil
	}
	used = h.bytes - in.headN
	in.headN, in.inFrame, in.left = 0, true, h.payload
	switch {
	case h.masked:
		return 0, fmt.Errorf("load: connection %d: the server masked a frame", c.id)
	case h.op >= opClose:
		in.control, in.ctl = h.op, in.ctl[:0]
		return used, nil
	case in.inMsg != (h.op == opContinuation), !in.inMsg && h.op != k.op:
		return 0, fmt.Errorf("load: connection %d: opcode %#x, sent %#x, inside a message: %t", c.id, h.op, k.op, in.inMsg)
	}
	if h.packed && !k.o.Deflate {
		return 0, fmt.Errorf("load: connection %d: a compressed message, which was not offered", c.id)
	}
	if !in.inMsg {
		in.isPack, in.packed = h.packed, in.packed[:0]
	}
	in.control, in.fin = 0, h.fin
	return used, nil
}

// endFrame acts on a frame that is complete.
func (k *client) endFrame(c *conn, now int64) error {
	in := &c.in
	in.inFrame = false
	switch in.control {
	case 0:
		if in.inMsg = !in.fin; in.inMsg {
			return nil
		}
		if k.o.Deflate {
			if err := k.checkPacked(c); err != nil {
				return err
			}
		} else if in.offset != len(k.tmpl) {
			return fmt.Errorf("load: connection %d: message %d came back with %d bytes, sent %d", c.id, c.recvSeq, in.offset, len(k.tmpl))
		}
		in.offset = 0
		c.recvSeq++
		return k.sink.message(c, now)
	case opPing:
		return k.transmit(c, appendFrame(nil, opPong, c.key, in.ctl))
	case opClose:
		if len(in.ctl) < 2 {
			return fmt.Errorf("load: connection %d: %w without a code", c.id, errClosed)
		}
		return fmt.Errorf("load: connection %d: %w: %d %q", c.id, errClosed, binary.BigEndian.Uint16(in.ctl), in.ctl[2:])
	}
	return nil
}

var errRaw = errors.New("load: the floor sent back other bytes")

// consumeRaw does the same for a server that sends back what it gets: masked
// frames, each of one length, known beforehand.
func (k *client) consumeRaw(c *conn, p []byte, now int64) error {
	from, in := k.sender(c), &c.in
	for len(p) > 0 {
		k.expect = append(k.expect[:0], from.frame...)
		var s [stampBytes]byte
		stamp(&s, from.id, c.recvSeq)
		mask(s[:], from.key, 0)
		copy(k.expect[k.stampAt:k.stampAt+k.stampLen], s[:])
		n := min(len(p), len(k.expect)-in.offset)
		if !bytes.Equal(p[:n], k.expect[in.offset:in.offset+n]) {
			return fmt.Errorf("connection %d, message %d: %w", c.id, c.recvSeq, errRaw)
		}
		p = p[n:]
		if in.offset += n; in.offset == len(k.expect) {
			in.offset = 0
			c.recvSeq++
			if err := k.sink.message(c, now); err != nil {
				return err
			}
		}
	}
	return nil
}
