package chaos

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Opcodes (RFC 6455 §11.8).
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// patience bounds every wait for the server. It is far above what anything takes, and ends a test of a server that
// hangs.
const patience = 5 * time.Second

// client is a WebSocket client that hides nothing. One goroutine at a time.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

// refusedError is an HTTP answer instead of a connection.
type refusedError int

func (e refusedError) Error() string { return fmt.Sprintf("the upgrade was answered with %d", int(e)) }

// dial connects, or returns a refusedError.
func dial(address, path string) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}
	if err := c.shakeHands(path); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

func (c *client) shakeHands(path string) error {
	c.soon()
	_, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path)
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		_ = answer.Body.Close()
		return refusedError(answer.StatusCode)
	}
	if got := answer.Header.Get("Sec-Websocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return fmt.Errorf("the server accepts with the key %q", got)
	}
	return nil
}

func (c *client) soon() { _ = c.conn.SetDeadline(time.Now().Add(patience)) }

func (c *client) drop() { _ = c.conn.Close() }

// send writes one frame of up to 125 bytes.
func (c *client) send(op byte, payload string) error {
	if len(payload) > 125 {
		return errors.New("the test's client sends small frames only")
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	frame := append(make([]byte, 0, 6+len(payload)), 0x80|op, 0x80|byte(len(payload)))
	frame = append(frame, mask[:]...)
	for i := range len(payload) {
		frame = append(frame, payload[i]^mask[i%4])
	}
	c.soon()
	_, err := c.conn.Write(frame)
	return err
}

// maxFrameBytes is more than any frame of the server's.
const maxFrameBytes = 1 << 20

// next reads one frame that is no ping, and answers pings.
func (c *client) next() (op byte, payload string, err error) {
	for {
		c.soon()
		if op, payload, err = c.frame(); err != nil || op != opPing {
			return op, payload, err
		}
		if err := c.send(opPong, payload); err != nil {
			return 0, "", err
		}
	}
}

func (c *client) frame() (op byte, payload string, err error) {
	var head [10]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, "", err
	}
	n := uint64(head[1])
	switch {
	case head[0]&0xf0 != 0x80 || n > 127:
		return 0, "", fmt.Errorf("a frame begins with % x: fragmented, masked or with reserved bits", head[:2])
	case n == 126:
		if _, err := io.ReadFull(c.in, head[2:4]); err != nil {
			return 0, "", err
		}
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case n == 127:
		if _, err := io.ReadFull(c.in, head[2:10]); err != nil {
			return 0, "", err
		}
		n = binary.BigEndian.Uint64(head[2:])
	}
	if n > maxFrameBytes {
		return 0, "", fmt.Errorf("a frame of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, "", err
	}
	return head[0] & 0xf, string(body), nil
}

// goodbye closes in order, and passes over what was still on its way.
func (c *client) goodbye() error {
	defer c.drop()
	if err := c.send(opClose, "\x03\xe8"); err != nil { // 1000
		return err
	}
	for {
		switch op, payload, err := c.next(); {
		case err != nil:
			return err
		case op == opClose:
			if code := closeCode(payload); code != 1000 {
				return fmt.Errorf("the server answers a Close of 1000 with %d", code)
			}
			return nil
		}
	}
}

// closeCode is the code of a Close frame; 1005 is none (RFC 6455 §7.1.5).
func closeCode(payload string) int {
	if len(payload) < 2 {
		return 1005
	}
	return int(binary.BigEndian.Uint16([]byte(payload)))
}
