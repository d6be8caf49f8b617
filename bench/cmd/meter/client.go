package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
)

// maxAnswerBytes bounds a message of the server.
const maxAnswerBytes = 64 << 10

// patience bounds the wait for one answer.
const patience = 10 * time.Second

// client is one connection to a server. One goroutine.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	payload [maxAnswerBytes]byte
}

// dial opens a connection; target is a path with its query.
func dial(ctx context.Context, address, target string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, in, _, err := ws.Dial(ctx, "ws://"+address+target)
	if err != nil {
		return nil, err
	}
	if in == nil {
		in = bufio.NewReader(conn)
	}
	return &client{conn: conn, in: in}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// appendFrame appends a message as a client sends it.
func appendFrame(to []byte, op ws.OpCode, payload []byte) []byte {
	var b bytes.Buffer
	f := ws.MaskFrameInPlaceWith(ws.NewFrame(op, true, bytes.Clone(payload)), [4]byte{0x17, 0x2a, 0x91, 0x5c})
	if err := ws.WriteFrame(&b, f); err != nil {
		panic(err) // memory does not fail
	}
	return append(to, b.Bytes()...)
}

// send writes frames that appendFrame made.
func (c *client) send(frames []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write(frames)
	return err
}

// closedError says that the server closed the connection.
type closedError struct {
	code   uint16
	reason string
}

func (e *closedError) Error() string {
	return fmt.Sprintf("the server closed the connection: %d %q", e.code, e.reason)
}

// receive reads the next message, or Close frame as a *closedError. The message is good until the next call. Pings are
// left out: nobody here lives long enough to be missed.
func (c *client) receive() (ws.OpCode, []byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	for {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return 0, nil, err
		}
		if h.Length > maxAnswerBytes || h.Masked || !h.Fin {
			return 0, nil, fmt.Errorf("a frame that weir does not send: %+v", h)
		}
		payload := c.payload[:h.Length]
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return 0, nil, err
		}
		switch h.OpCode {
		case ws.OpPing, ws.OpPong:
			continue
		case ws.OpClose:
			e := &closedError{code: 1005}
			if len(payload) >= 2 {
				e.code, e.reason = binary.BigEndian.Uint16(payload), string(payload[2:])
			}
			return 0, nil, e
		}
		return h.OpCode, payload, nil
	}
}

// expect reads the next message and compares it.
func (c *client) expect(op ws.OpCode, want []byte) error {
	gotOp, got, err := c.receive()
	if err != nil {
		return err
	}
	if gotOp != op || !bytes.Equal(got, want) {
		return fmt.Errorf("a wrong answer: opcode %d, %s; want opcode %d, %s", gotOp, brief(got), op, brief(want))
	}
	return nil
}

// brief shows the beginning of a payload.
func brief(p []byte) string {
	const most = 64
	if len(p) > most {
		return fmt.Sprintf("%q… (%d bytes)", p[:most], len(p))
	}
	return fmt.Sprintf("%q", p)
}
