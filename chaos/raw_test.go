package chaos

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// goodHead is a request that is answered with 101 at the given path.
func goodHead(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// swapped is the good request with one part replaced, and with is the good one with more lines.
func swapped(old, by string) string {
	head := goodHead("/echo")
	if strings.Count(head, old) != 1 {
		panic(fmt.Sprintf("%q occurs %d times in the request", old, strings.Count(head, old)))
	}
	return strings.Replace(head, old, by, 1)
}

func with(lines ...string) string {
	return strings.TrimSuffix(goodHead("/echo"), "\r\n") + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// masked is a client's frame with any first byte and any payload; sealed one whose length is written as the caller
// likes.
func masked(first byte, payload string) string {
	switch n := len(payload); {
	case n <= 125:
		return sealed(first, []byte{0x80 | byte(n)}, payload)
	case n <= 0xFFFF:
		return sealed(first, length16(uint16(n)), payload)
	default:
		return sealed(first, length64(uint64(n)), payload)
	}
}

func sealed(first byte, length []byte, payload string) string {
	mask := [4]byte{0xA5, 0x5A, 0x0F, 0xF0}
	p := append(append([]byte{first}, length...), mask[:]...)
	for i := range len(payload) {
		p = append(p, payload[i]^mask[i%4])
	}
	return string(p)
}

func length16(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0x80 | 126}, n) }
func length64(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x80 | 127}, n) }

func closeWith(code int, reason string) string {
	return masked(0x88, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// plain is a server's frame.
func plain(first byte, payload string) string {
	switch n := len(payload); {
	case n <= 125:
		return string([]byte{first, byte(n)}) + payload
	case n <= 0xFFFF:
		return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))) + payload
	default:
		return string(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))) + payload
	}
}

// connect opens a connection on which nothing was said.
func connect(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(4 * patience))
	}
	return conn, err
}

// converse says all of it and returns what the server says until it ends its side. What the server does not take, since
// it has ended the conversation, is no error.
func converse(address, says string) (string, error) {
	conn, err := connect(address)
	if err != nil {
		return "", err
	}
	var talks sync.WaitGroup
	talks.Go(func() { _, _ = io.WriteString(conn, says) }) // ends when all is written, or with the connection
	answer, err := io.ReadAll(conn)
	conn.Close()
	talks.Wait()
	if errors.Is(err, syscall.ECONNRESET) && len(answer) > 0 {
		err = nil
	}
	return string(answer), err
}

// refusal reads an answer as one HTTP response that ends the connection, and nothing behind it.
func refusal(answer string) (*http.Response, error) {
	r := bufio.NewReader(strings.NewReader(answer))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, fmt.Errorf("the answer is %.80q: %w", answer, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	switch more, _ := io.ReadAll(r); {
	case len(more) > 0:
		return nil, fmt.Errorf("behind the answer comes %.80q", more)
	case !resp.Close:
		return nil, errors.New("the answer does not say Connection: close")
	}
	return resp, nil
}

// refuses expects the request, and another one behind it, to be answered once, with that status.
func refuses(address, request string, status int) (*http.Response, error) {
	answer, err := converse(address, request+goodHead("/echo")+masked(0x81, "smuggled"))
	if err != nil {
		return nil, err
	}
	resp, err := refusal(answer)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("answered %s, want %d", resp.Status, status)
	}
	return resp, err
}

// afterUpgrade upgrades at path, says all of it and returns what the server says behind its 101 until it ends its side.
func afterUpgrade(address, path, says string) (string, error) {
	answer, err := converse(address, goodHead(path)+says)
	if err != nil {
		return "", err
	}
	head, rest, ok := strings.Cut(answer, "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		return "", fmt.Errorf("the upgrade is answered with %.80q", answer)
	}
	return rest, nil
}

// ends expects a conversation to end with exactly one Close frame of this code, behind these frames.
func ends(address, path, says, before string, code int) error {
	got, err := afterUpgrade(address, path, says)
	if err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(got, before)
	if !ok {
		return fmt.Errorf("the server says %.60q, want %.60q first", got, before)
	}
	if len(rest) < 2 || rest[0] != 0x88 || len(rest) != 2+int(rest[1]) {
		return fmt.Errorf("the server says %.60q in the end, want a Close frame", rest)
	}
	if got := closeCode(rest[2:]); got != code {
		return fmt.Errorf("closed with %d, want %d", got, code)
	}
	return nil
}

// tally counts by what happened.
type tally struct {
	mu  sync.Mutex
	of  map[string]int
	all []time.Duration
}

func (c *tally) add(what string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[what]++
	c.all = append(c.all, took)
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for what, n := range c.of {
		parts = append(parts, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// span is the shortest and the longest of the times.
func (c *tally) span() (least, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Min(c.all), slices.Max(c.all)
}
