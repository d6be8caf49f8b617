package chaos

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// frameFaults are what a peer can do on an open WebSocket.
func frameFaults() []fault {
	unfinished := masked(0x01, "begin")
	return []fault{
		{"T-020", "a length with its top bit set, and lengths of all ones", func(t *testing.T, w *wire) string {
			return closedWith(t, w, 1002, sealed(0x82, length64(1<<63|1), "x"), sealed(0x82, length64(1<<64-1), ""), sealed(0x89, length64(1<<63), ""), unfinished+sealed(0x80, length64(1<<63), ""))
		}},
		{"T-021", "2^62 bytes announced, then nothing", func(t *testing.T, w *wire) string {
			before := w.server.usage(t)
			w.server.forgetPeak(t)
			happened := closedWith(t, w, 1009, sealed(0x82, length64(1<<62), ""), sealed(0x81, length64(1<<63-1), ""), unfinished+sealed(0x80, length64(1<<62), ""))
			grown := w.server.usage(t).peakKiB - before.residentKiB
			if grown > 8<<10 {
				t.Errorf("the server took %d KiB more", grown)
			}
			return fmt.Sprintf("%s; the server took %d KiB more at its peak", happened, max(0, grown))
		}},
		{"T-022", "a message of the largest size, of which a byte comes every quarter of a second", slowMessages},
		{"T-023", "a message of exactly the limit, and of one byte more", func(t *testing.T, w *wire) string {
			whole := strings.Repeat("w", messageLimit)
			if err := ends(w.server.address(), "/echo", masked(0x82, whole)+closeWith(1000, ""), plain(0x82, whole), 1000); err != nil {
				t.Error(err)
			}
			return "echoed; " + closedWith(t, w, 1009, masked(0x82, whole+"x"), masked(0x02, whole)+masked(0x80, "x"))
		}},
		{"T-024", "a million fragments of one byte", func(t *testing.T, w *wire) string {
			return w.endlessMessage(t, masked(0x00, "x"))
		}},
		{"T-025", "empty fragments without end", func(t *testing.T, w *wire) string {
			return w.endlessMessage(t, masked(0x00, ""))
		}},
		{"T-026", "300 connections with a message each that lacks its last byte; inbound_budget is 8 MiB", spendBudget},
		{"T-027", "frames that RFC 6455 forbids", func(t *testing.T, w *wire) string {
			all := []string{
				"\x81\x05hello", "\x89\x00", "\x88\x02\x03\xE8", unfinished + "\x80\x01x",
				masked(0xC1, "x"), masked(0xA1, "x"), masked(0x91, "x"), masked(0xF2, ""), unfinished + masked(0xC0, "x"), masked(0xC9, ""), masked(0xA8, "\x03\xE8"),
				masked(0x09, "x"), masked(0x0A, "x"), masked(0x08, "\x03"), masked(0x89, strings.Repeat("p", 126)), masked(0x8A, strings.Repeat("p", 126)),
				masked(0x80, "x"), masked(0x00, "x"), unfinished + masked(0x81, "x"), unfinished + masked(0x02, "x"),
			}
			for op := range byte(16) {
				if op >= 3 && op <= 7 || op >= 0xB {
					all = append(all, masked(0x80|op, ""), unfinished+masked(op, "x"))
				}
			}
			return closedWith(t, w, 1002, all...)
		}},
		{"T-028", "lengths in more bytes than they need", func(t *testing.T, w *wire) string {
			return closedWith(t, w, 1002, sealed(0x82, length16(5), "hello"), sealed(0x82, length16(125), strings.Repeat("x", 125)), sealed(0x82, length64(5), "hello"),
				sealed(0x82, length64(200), strings.Repeat("x", 200)), sealed(0x82, length64(65535), ""), sealed(0x81, length16(0), ""), sealed(0x89, length16(1), "p"), sealed(0x88, length64(2), "\x03\xE8"))
		}},
		{"T-029", "text that is not UTF-8, some of it before the message ends", func(t *testing.T, w *wire) string {
			return closedWith(t, w, 1007, masked(0x81, "a\xFFb"), masked(0x81, "\xC0\xAF"+strings.Repeat("x", 100))[:20], masked(0x01, "\xF5"), masked(0x01, "fine")+masked(0x00, "\x80"),
				masked(0x01, "\xE6\xBC")+masked(0x00, "\x41"), masked(0x01, "\xE0")+masked(0x00, "\x9F"), masked(0x81, "fine\xE6\xBC"), masked(0x01, "\xC3")+masked(0x80, ""),
				masked(0x81, "\xED\xA0\x80"), masked(0x81, "\xF4\x90\x80\x80"), closeWith(1000, "bye \xFF"), closeWith(1000, "bye \xC3"))
		}},
		{"T-030", "Close frames that are illegal", func(t *testing.T, w *wire) string {
			all := []string{masked(0x88, "\x03"), closeWith(1000, strings.Repeat("r", 124))}
			for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535} {
				all = append(all, closeWith(code, "why"))
			}
			return closedWith(t, w, 1002, all...)
		}},
		{"T-031", "every Close code that may travel", func(t *testing.T, w *wire) string {
			codes := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
			took := new(tally)
			for _, code := range codes {
				begun := time.Now()
				if err := ends(w.server.address(), "/echo", closeWith(code, "why"), "", code); err != nil {
					t.Errorf("%d: %v", code, err)
				}
				took.add("echoed", time.Since(begun))
			}
			_, most := took.span()
			return fmt.Sprintf("%v; the server ended its side within %s ms", took, ms(most))
		}},
		{"T-032", "data and Close frames behind a Close; a Close of the server's that is not answered", afterTheEnd},
		{"T-033", "pings as fast as the socket takes them, and no pong is read", func(t *testing.T, w *wire) string {
			return w.controlFlood(t, 0x89, true)
		}},
		{"T-034", "pongs as fast as the socket takes them", func(t *testing.T, w *wire) string {
			return w.controlFlood(t, 0x8A, false)
		}},
		{"T-035", "a conversation byte by byte, and cut at every byte", splitFrames},
		{"T-038", "a client that sends messages of 10 bytes as fast as it can for a second", messageFlood},
	}
}

// closedWith expects each of the streams to be answered with one Close frame of that code, perhaps behind an echo.
func closedWith(t *testing.T, w *wire, code int, streams ...string) string {
	t.Helper()
	for _, says := range streams {
		if err := ends(w.server.address(), "/echo", says, "", code); err != nil {
			t.Errorf("%.60q: %v", says, err)
		}
	}
	return fmt.Sprintf("%d × closed with %d", len(streams), code)
}

func slowMessages(t *testing.T, w *wire) string {
	const n = 200
	before := w.figures(t)
	ends := new(tally)
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			begun := time.Now()
			c, err := dial(w.server.address(), "/echo")
			if err != nil {
				ends.add(err.Error(), 0)
				return
			}
			defer c.drop()
			_ = c.conn.SetDeadline(time.Now().Add(4 * patience))
			var drips sync.WaitGroup
			defer drips.Wait()
			stop := make(chan struct{})
			defer close(stop)
			drips.Go(func() { // ends with the Close
				ticks := time.NewTicker(250 * time.Millisecond)
				defer ticks.Stop()
				for _, err := io.WriteString(c.conn, sealed(0x82, length64(messageLimit), "x")); err == nil; _, err = io.WriteString(c.conn, "x") {
					select {
					case <-ticks.C:
					case <-stop:
						return
					}
				}
			})
			op, payload, err := c.frame()
			if err != nil || op != opClose {
				ends.add(fmt.Sprintf("frame %x, %v", op, err), time.Since(begun))
				return
			}
			ends.add(fmt.Sprint(closeCode(payload), " ", payload[2:]), time.Since(begun))
		})
	}
	idle := eventually(func() bool {
		f := w.figures(t)
		return f["weir_inbound_bytes"] >= n && f["weir_pool_queue_length"] == 0 && f[`weir_pool_workers{state="busy"}`] == 0
	})
	clients.Wait()
	if want := fmt.Sprintf("%d × 1008 message took too long", n); ends.String() != want || !idle {
		t.Errorf("%v, want %s; no worker was busy with them: %v", ends, want, idle)
	}
	w.wantEnds(t, before, "slow_message", n)
	least, most := ends.span()
	if least < messageTimeout-50*time.Millisecond {
		t.Errorf("one was closed after %v, its time is %v", least, messageTimeout)
	}
	return fmt.Sprintf("%v, after %.2f to %.2f s; no worker was held", ends, least.Seconds(), most.Seconds())
}

// endlessMessage begins a message and goes on with that fragment a million times, or as long as the server listens.
func (w *wire) endlessMessage(t *testing.T, fragment string) string {
	before := w.figures(t)
	w.server.forgetPeak(t)
	resident := w.server.usage(t).residentKiB
	if err := ends(w.server.address(), "/echo", masked(0x02, "")+strings.Repeat(fragment, 1_000_000), "", 1008); err != nil {
		t.Error(err)
	}
	w.wantEnds(t, before, "too_many_fragments", 1)
	grown := w.server.usage(t).peakKiB - resident
	if grown > 8<<10 {
		t.Errorf("the server took %d KiB more", grown)
	}
	return fmt.Sprintf("closed with 1008 after 256 fragments; the server took %d KiB more at its peak", max(0, grown))
}

func spendBudget(t *testing.T, w *wire) string {
	const n = 300
	before := w.figures(t)
	begun, peak := sealed(0x82, length64(messageLimit), strings.Repeat("x", messageLimit-1)), 0.0
	ends := new(tally)
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			c, err := dial(w.server.address(), "/echo")
			if err != nil {
				ends.add(err.Error(), 0)
				return
			}
			defer c.drop()
			_ = c.conn.SetDeadline(time.Now().Add(4 * patience))
			_, _ = io.WriteString(c.conn, begun)
			op, payload, err := c.frame()
			if err != nil || op != opClose {
				ends.add(fmt.Sprintf("frame %x, %v", op, err), 0)
				return
			}
			ends.add(fmt.Sprint(closeCode(payload), " ", payload[2:]), 0)
		})
	}
	eventually(func() bool {
		f := w.figures(t)
		peak = max(peak, f["weir_inbound_bytes"])
		return f.ended("slow_message")+f.ended("inbound_budget")-before.ended("slow_message")-before.ended("inbound_budget") == n
	})
	clients.Wait()
	if peak > inboundBudget {
		t.Errorf("%v bytes were held, %d may be", peak, inboundBudget)
	}
	turned, waited := ends.of["1013 server is short of memory"], ends.of["1008 message took too long"]
	if turned+waited != n || turned == 0 || waited < inboundBudget/messageLimit/2 {
		t.Errorf("%v, want 1013 for those beyond the budget and 1008 in the end for the others", ends)
	}
	return fmt.Sprintf("%v (message_timeout, for those within the budget); %.1f MiB held at most", ends, peak/(1<<20))
}

func afterTheEnd(t *testing.T, w *wire) string {
	flood := strings.Repeat(masked(0x81, "late"), 1000) + strings.Repeat(closeWith(4000, "again"), 10_000)
	if err := ends(w.server.address(), "/echo", masked(0x81, "in time")+closeWith(1000, "")+flood, plain(0x81, "in time"), 1000); err != nil {
		t.Error(err)
	}
	// A Close of the handler's, to which the client answers with data for as long as it can.
	begun := time.Now()
	if err := ends(w.server.address(), "/puppet", masked(0x81, "close 4000 enough")+strings.Repeat(masked(0x82, "late"), 1000), "", 4000); err != nil {
		t.Error(err)
	}
	took := time.Since(begun)
	if took < closeTimeout-50*time.Millisecond {
		t.Errorf("cut after %v, the answer may take %v", took, closeTimeout)
	}
	return fmt.Sprintf("nothing behind a Close has any effect, and one Close is sent; not answered, the connection is cut after %.2f s", took.Seconds())
}

func (w *wire) controlFlood(t *testing.T, first byte, answered bool) string {
	const burst, payload = 200, "as long as it likes"
	before := w.figures(t)
	c, err := dial(w.server.address(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	_ = c.conn.SetDeadline(time.Now().Add(4 * patience))
	flood := strings.Repeat(masked(first, payload), 100)
	begun := time.Now()
	sent := 0
	for range 100 { // until the server has closed its socket, or 10,000 are out
		n, err := io.WriteString(c.conn, flood)
		if sent += n / len(masked(first, payload)); err != nil {
			break
		}
	}
	held := w.figures(t)["weir_outbound_bytes"]
	pongs := 0
	for {
		op, got, err := c.frame()
		switch {
		case err != nil:
			t.Fatalf("after %d pongs: %v", pongs, err)
		case op == opPong && got == payload:
			pongs++
			continue
		case op != opClose || closeCode(got) != 1008:
			t.Fatalf("after %d pongs: frame %x %q", pongs, op, got)
		}
		break
	}
	allowed := burst + int(time.Since(begun).Seconds()*burst/2) + 1
	if answered && pongs < burst || !answered && pongs > 0 || pongs > allowed {
		t.Errorf("%d of %d were answered, want %d and not more than %d", pongs, sent, burst, allowed)
	}
	w.wantEnds(t, before, "control_flood", 1)
	return fmt.Sprintf("%d sent, %d answered, closed with 1008; %.0f bytes waited for it", sent, pongs, held)
}

func splitFrames(t *testing.T, w *wire) string {
	says := masked(0x01, "aé漢") + masked(0x89, "p") + masked(0x00, "𝄞") + masked(0x89, "q") + masked(0x80, "z") + closeWith(1000, "")
	want := plain(0x8A, "p") + plain(0x8A, "q") + plain(0x81, "aé漢𝄞z") + plain(0x88, "\x03\xE8")
	try := func(chunks ...string) {
		c, err := dial(w.server.address(), "/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer c.drop()
		_ = c.conn.SetDeadline(time.Now().Add(4 * patience))
		for _, chunk := range chunks {
			if _, err := io.WriteString(c.conn, chunk); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(c.in); err != nil || string(got) != want {
			t.Errorf("in %d chunks, the first of %d bytes: the server says %q (%v), want %q", len(chunks), len(chunks[0]), got, err, want)
		}
	}
	var octets []string
	for i := range len(says) {
		octets = append(octets, says[i:i+1])
		try(says[:i], says[i:])
	}
	try(octets...)
	return fmt.Sprintf("%d cuts, and byte by byte: the same answer each time", len(says))
}

func messageFlood(t *testing.T, w *wire) string {
	c, err := dial(w.server.address(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	_ = c.conn.SetDeadline(time.Now().Add(4 * patience))
	const batch = 200
	says, want := strings.Repeat(masked(0x81, "ten bytes!"), batch), plain(0x81, "ten bytes!")
	var talks sync.WaitGroup
	sent := 0
	begun := time.Now()
	talks.Go(func() { // ends after a second and a Close
		for time.Since(begun) < time.Second {
			if _, err := io.WriteString(c.conn, says); err != nil {
				return
			}
			sent += batch
		}
		_, _ = io.WriteString(c.conn, closeWith(1000, ""))
	})
	in := bufio.NewReaderSize(c.in, 64<<10)
	heard, one := 0, make([]byte, len(want))
	for {
		if _, err := io.ReadFull(in, one[:2]); err != nil {
			t.Errorf("after %d messages: %v", heard, err)
			break
		}
		if one[0] == 0x88 {
			break
		}
		if _, err := io.ReadFull(in, one[2:]); err != nil || string(one) != want {
			t.Errorf("message %d is %q (%v)", heard, one, err)
			break
		}
		heard++
	}
	took := time.Since(begun)
	c.drop()
	talks.Wait()
	if heard != sent {
		t.Errorf("%d of %d messages came back", heard, sent)
	}
	return fmt.Sprintf("%d messages, all of them came back, %.0f a second; it was not closed", sent, float64(sent)/took.Seconds())
}
