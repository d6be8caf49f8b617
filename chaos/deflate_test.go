package chaos

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// compressing is a client of permessage-deflate, as far as a bomber needs it.
type compressing struct {
	conn net.Conn
	in   *bufio.Reader
	took string // the answer to the offers
}

// offer shakes hands with the value of a Sec-WebSocket-Extensions field.
func offer(t *testing.T, address, value string) *compressing {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /canary HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: %s\r\n\r\n", value)
	c := &compressing{conn: conn, in: bufio.NewReader(conn)}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade was answered with %v, %v", answer, err)
	}
	c.took = answer.Header.Get("Sec-Websocket-Extensions")
	return c
}

// end reads to the server's Close frame, or to the first message, and returns the code, or 0.
func (c *compressing) end(t *testing.T) int {
	t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.in, head); err != nil {
		t.Fatalf("the server says nothing: %v", err)
	}
	if head[0] != 0x88 {
		return 0
	}
	return int(binary.BigEndian.Uint16(head[2:]))
}

// packed is text compressed, without the four bytes that are not sent.
func packed(text string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	_, _ = io.WriteString(w, text)
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// cpu is what the server's threads have been charged, by /proc.
func (s *server) cpu(t *testing.T) time.Duration {
	t.Helper()
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "task", "*", "schedstat"))
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, file := range tasks {
		if text, err := os.ReadFile(file); err == nil { // else the thread has just ended
			n, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// TestCompressedBombs is T-036: what inflates to more than allowed, or to nothing, ends its own connection by 1009 or
// 1007, and neither the memory nor the other connections suffer.
func TestCompressedBombs(t *testing.T) {
	s := launch(t, compressingConfiguration(t, "on"), runAddressKiB)
	if !s.start(loadWithin) {
		t.Fatalf("the server does not start: %v\n%s", s.failed, s.said())
	}
	canary, err := dial(s.address(), "/canary")
	if err != nil {
		t.Fatal(err)
	}
	defer canary.drop()
	zeros := packed(strings.Repeat("\x00", 60<<20))[:60_000] // 1028:1
	document := packed(strings.Repeat(`{"id":1,"text":"hello"},`, 100))
	stored := strings.Repeat("\x00\x00\x04\xff\xfb"+strings.Repeat("x", 1024), 80)
	fragmented := masked(0x42, zeros[:1000])
	for at := 1000; at < len(zeros); at += 1000 {
		fragmented += masked(0, zeros[at:at+1000])
	}
	const rounds = 20
	for _, tc := range []struct {
		name, offer, send string
		want              int
	}{
		{"a bomb", "permessage-deflate", masked(0xC2, zeros), 1009},
		{"a bomb with a window of 8 bits", "permessage-deflate; server_max_window_bits=8", masked(0xC2, zeros), 1009},
		{"a bomb in fragments", "permessage-deflate", fragmented + masked(0x80, ""), 1009},
		{"stored blocks", "permessage-deflate", masked(0x42, stored[:60_000]) + masked(0x80, stored[60_000:]), 1009},
		{"no stream", "permessage-deflate", masked(0xC2, strings.Repeat("\xff", 5000)), 1007},
		{"a stream without an end", "permessage-deflate", masked(0xC2, document[:len(document)-5]), 1007},
		{"the bit without an agreement", "x-none", masked(0xC2, document), 1002},
	} {
		t.Run("T-036/"+tc.name, func(t *testing.T) {
			before, used := s.usage(t), s.cpu(t)
			for range rounds {
				c := offer(t, s.address(), tc.offer)
				if agreed := c.took != ""; agreed != (tc.offer != "x-none") {
					t.Fatalf("the server agrees to %q", c.took)
				}
				if _, err := io.WriteString(c.conn, tc.send); err != nil {
					t.Fatal(err)
				}
				if got := c.end(t); got != tc.want {
					t.Fatalf("it ended with %d, want %d", got, tc.want)
				}
				_ = c.conn.Close()
				if err := canary.send(opText, "still there?"); err != nil {
					t.Fatal(err)
				}
				if _, said, err := canary.next(); err != nil || said != "still there?" {
					t.Fatalf("the canary heard %q, %v", said, err)
				}
			}
			after := s.usage(t)
			if grown := after.residentKiB - before.residentKiB; grown > 32<<10 {
				t.Errorf("the server has grown by %d MiB", grown>>10)
			}
			tell(t, "T-036", tc.name, "%d × closed with %d; %v of CPU time each, connection and canary included; %v", rounds, tc.want, (s.cpu(t)-used)/rounds, after)
		})
	}
	t.Run("T-037/a thousand offers in one field", func(t *testing.T) {
		used := s.cpu(t)
		for range rounds {
			c := offer(t, s.address(), strings.Repeat("permessage-deflate;a,", 500)+"permessage-deflate; server_max_window_bits=9"+strings.Repeat(",permessage-deflate", 200))
			if !strings.HasSuffix(c.took, "; server_max_window_bits=9") || strings.Contains(c.took, ",") {
				t.Fatalf("the server agrees to %q", c.took)
			}
			_ = c.conn.Close()
		}
		tell(t, "T-037", "700 offers of compression in one field", "the first acceptable one is taken; %v of CPU time each, connection included", (s.cpu(t)-used)/rounds)
	})
	if !s.alive() {
		t.Errorf("the server is gone:\n%s", s.said())
	}
}

// TestCompressionIsDeclined is T-036 too: without the key nothing is agreed to.
func TestCompressionIsDeclined(t *testing.T) {
	s := launch(t, compressingConfiguration(t, "off"), runAddressKiB)
	if !s.start(loadWithin) {
		t.Fatalf("the server does not start: %v\n%s", s.failed, s.said())
	}
	c := offer(t, s.address(), "permessage-deflate")
	if _, err := io.WriteString(c.conn, masked(0xC2, packed("hello"))); err != nil {
		t.Fatal(err)
	}
	if got := c.end(t); c.took != "" || got != 1002 {
		t.Errorf("the server agreed to %q and ended with %d", c.took, got)
	}
}

// compressingConfiguration is that of the canary with compression on or off.
func compressingConfiguration(t *testing.T, compression string) string {
	t.Helper()
	file := configuration(t, module{name: "canary", path: canaryPath})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(text, "websocket: {compression: %q}\n", compression), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
