package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

const (
	// patience bounds the wait for one connection, lastWait that for the last answers.
	patience = 10 * time.Second
	lastWait = 2 * time.Second
	// tick is how often messages are sent: those of a tick at once.
	tick = time.Millisecond

	messageBytes = 16 // number, and when it was sent (ns since the fleet's start)
	replyBytes   = 8 + messageBytes
)

// fleet is the clients: one goroutine sends for all of them at a fixed rate, whatever the answers do, and one for
// each listens.
type fleet struct {
	began  time.Time
	conns  []*conn
	quit   atomic.Bool
	sender sync.WaitGroup
	ears   sync.WaitGroup
}

// conn is one client. The sender has sent; the rest belongs to who listens until the fleet has stopped.
type conn struct {
	net  net.Conn
	in   *bufio.Reader
	sent atomic.Uint64

	heard   []arrival
	wrong   int // answers that were lost, came twice or out of order
	back    int // steps to an older generation
	failure error
}

// arrival is one answer. Times are since the fleet's start.
type arrival struct {
	at, took   time.Duration
	generation uint64
}

func dialFleet(ctx context.Context, address string, conns int) (*fleet, error) {
	f := &fleet{began: time.Now()}
	for range conns {
		ctx, cancel := context.WithTimeout(ctx, patience)
		c, in, _, err := ws.Dial(ctx, "ws://"+address+"/")
		cancel()
		if err != nil {
			f.close()
			return nil, err
		}
		if in == nil {
			in = bufio.NewReaderSize(c, 512)
		}
		f.conns = append(f.conns, &conn{net: c, in: in})
	}
	return f, nil
}

func (f *fleet) close() {
	for _, c := range f.conns {
		_ = c.net.Close()
	}
}

// start begins to send rate messages a second over all connections, in turn.
func (f *fleet) start(rate int) {
	for _, c := range f.conns {
		f.ears.Go(func() { c.listen(f) }) // ends when everything is answered, or with the connection
	}
	f.sender.Go(func() { f.send(rate) }) // ends with stop
}

func (f *fleet) send(rate int) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	start := time.Now()
	for n := 0; !f.quit.Load(); {
		due := int(time.Since(start).Seconds() * float64(rate))
		for ; n < due; n++ {
			f.conns[n%len(f.conns)].say(f)
		}
		<-clock.C
	}
}

// say sends the connection's next message.
func (c *conn) say(f *fleet) {
	var frame [2 + 4 + messageBytes]byte
	frame[0], frame[1] = 0x82, 0x80|messageBytes
	number := c.sent.Load() + 1
	payload := frame[6:] // the mask is zero, which is one like any other
	binary.LittleEndian.PutUint64(payload, number)
	binary.LittleEndian.PutUint64(payload[8:], uint64(time.Since(f.began)))
	if _, err := c.net.Write(frame[:]); err == nil { // else who listens notices
		c.sent.Store(number)
	}
}

func (c *conn) listen(f *fleet) {
	c.failure = c.hear(f)
}

func (c *conn) hear(f *fleet) error {
	var next uint64 = 1
	var payload [replyBytes]byte
	for {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			if quiet, ok := errors.AsType[net.Error](err); ok && quiet.Timeout() && f.quit.Load() {
				return nil // what is missing, tally counts
			}
			return err
		}
		if h.Length > replyBytes {
			return fmt.Errorf("an answer of %d bytes", h.Length)
		}
		if _, err := io.ReadFull(c.in, payload[:h.Length]); err != nil {
			return err
		}
		if h.OpCode != ws.OpBinary || h.Length != replyBytes {
			if h.OpCode == ws.OpPing || h.OpCode == ws.OpPong {
				continue
			}
			return fmt.Errorf("an unexpected frame: opcode %d, %q", h.OpCode, payload[:h.Length])
		}
		a := arrival{at: time.Since(f.began), generation: binary.LittleEndian.Uint64(payload[:])}
		a.took = a.at - time.Duration(binary.LittleEndian.Uint64(payload[16:]))
		if number := binary.LittleEndian.Uint64(payload[8:]); number != next {
			c.wrong++
			next = number
		}
		next++
		if n := len(c.heard); n > 0 && c.heard[n-1].generation > a.generation {
			c.back++
		}
		c.heard = append(c.heard, a)
		if f.quit.Load() && uint64(len(c.heard)) == c.sent.Load() {
			return nil
		}
	}
}

// stop ends the sending and waits for what is due.
func (f *fleet) stop() {
	f.quit.Store(true)
	f.sender.Wait()
	for _, c := range f.conns {
		_ = c.net.SetReadDeadline(time.Now().Add(lastWait)) // who has heard everything waits for nothing
	}
	f.ears.Wait()
	f.close()
}

// tally is what became of all messages.
type tally struct {
	Sent, Heard uint64
	Wrong       int // lost, doubled or out of order, counted where it was noticed
	Back        int // steps to an older generation
	LostConns   int
	Why         string // of the first of these
}

func (f *fleet) tally() (t tally) {
	for _, c := range f.conns {
		t.Sent += c.sent.Load()
		t.Heard += uint64(len(c.heard))
		t.Wrong += c.wrong
		t.Back += c.back
		if c.failure != nil {
			if t.LostConns++; t.Why == "" {
				t.Why = c.failure.Error()
			}
		}
	}
	return t
}

// swapResult is one swap as clients saw it.
type swapResult struct {
	Generation            uint64
	Load                  time.Duration // from the file's bytes to a generation that is ready
	First                 time.Duration // from then to the first answer of the new generation
	Last                  time.Duration // and to the last of the old one
	Before, During        time.Duration // p99 of the second before the load began, and of the one after
	CountBefore, CountNow int
}

// never is later than everything.
const never = time.Duration(1<<63 - 1)

// swaps looks at the answers around each reload.
func (f *fleet) swaps(all []reload) ([]swapResult, error) {
	results := make([]swapResult, len(all))
	for i, r := range all {
		s := &results[i]
		s.Generation, s.Load = r.Generation, r.Load
		done := r.Time.Sub(f.began)
		decided := done - r.Swap
		begun := decided - r.Load
		first, last := never, time.Duration(0)
		var before, during []time.Duration
		for _, c := range f.conns {
			for _, a := range c.heard {
				switch sent := a.at - a.took; {
				case sent >= begun-time.Second && sent < begun:
					before = append(before, a.took)
				case sent >= begun && sent < begun+time.Second:
					during = append(during, a.took)
				}
				if a.generation == r.Generation {
					first = min(first, a.at)
				} else if a.generation == r.Generation-1 {
					last = max(last, a.at)
				}
			}
		}
		if s.First, s.Last = first-decided, last-decided; last == 0 || first == never {
			return nil, fmt.Errorf("nobody has heard of generation %d, or of the one before", r.Generation)
		}
		s.Before, s.During = quantile(before, 0.99), quantile(during, 0.99)
		s.CountBefore, s.CountNow = len(before), len(during)
	}
	return results, nil
}

// quantile is the value that a share q does not exceed; 0 of none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
