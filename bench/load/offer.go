package load

import (
	"context"
	"fmt"
	"time"
)

// Stretch is a time in which messages are offered at one rate, whatever becomes of those before.
type Stretch struct {
	Rate int // messages a second, over all connections in turn; 0 offers none
	For  time.Duration
	// Begin, unless nil, is called when it begins, on the load's goroutine. An error ends the run.
	Begin func() error
}

// Slice is what happened in one slice of time. An answer counts in the slice in which it was read.
type Slice struct {
	Offered  uint64 // messages that fell due
	Withheld uint64 // those of them that were not sent: the connection was closed, or had Options.Depth unanswered
	Answered uint64
	InTime   uint64 // answers to messages that had fallen due no longer ago than Offering.Deadline
	Closed   uint64 // connections that the server ended, or did not accept
	Latency  Hist   // of the answers, from when the message fell due
}

// Offering says how messages are offered.
type Offering struct {
	Stretches []Stretch // one after the other
	Slice     time.Duration
	Deadline  time.Duration
	// Return is how long a client whose connection the server has ended stays away, give or take half of it; then it
	// connects again.
	Return time.Duration
}

// offer is the sink of Offer.
type offer struct {
	k        *client
	how      Offering
	slice    *Slice
	next     int // connection whose turn it is
	inFlight int
	away     []*conn // connections that the server has ended; start is when they come again
	looked   int64   // when that was looked at
}

// Offer opens o.Conns connections and offers messages on them at a given rate, on each when its turn comes. A connection
// with o.Depth messages that are not answered withholds its next one for good, as a client does that gives up, and so
// does one that the server has closed. Warmup, Measure, Begin and End are not used.
//
// It returns the slices of each stretch. Messages that are still unanswered at the end are awaited, and not counted.
func Offer(ctx context.Context, o Options, how Offering) ([][]Slice, error) {
	k, err := newClient(o.withDefaults())
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.offer(ctx, how)
}

func (k *client) offer(ctx context.Context, how Offering) ([][]Slice, error) {
	s := &offer{k: k, how: how, slice: new(Slice)}
	k.sink = s
	for i := range k.conns {
		k.prepare(&k.conns[i])
	}
	if err := k.openAll(ctx); err != nil {
		return nil, err
	}
	k.opened = func(*conn, int64) error { return nil }
	k.ended = s.ended
	defer func() { k.ended = nil }()
	all := make([][]Slice, len(how.Stretches))
	start := k.now()
	for i, stretch := range how.Stretches {
		slices := make([]Slice, max(1, int(stretch.For/how.Slice)))
		all[i] = slices
		if stretch.Begin != nil {
			if err := stretch.Begin(); err != nil {
				return nil, err
			}
		}
		if err := s.stretch(ctx, stretch, slices, start); err != nil {
			return nil, fmt.Errorf("stretch %d of %d: %w", i+1, len(all), err)
		}
		start += int64(stretch.For)
	}
	s.slice = new(Slice)
	k.waitMS = maxWaitMS
	if err := k.run(ctx, func(int64) bool { return s.inFlight == 0 }); err != nil {
		return nil, fmt.Errorf("%d replies missing: %w", s.inFlight, err)
	}
	return all, nil
}

// stretch offers what falls due from start on.
func (s *offer) stretch(ctx context.Context, t Stretch, slices []Slice, start int64) error {
	k, offered := s.k, int64(0)
	every := int64(t.For) / int64(len(slices))
	var failed error
	err := k.run(ctx, func(now int64) bool {
		past := now - start
		s.slice = &slices[min(max(past/every, 0), int64(len(slices))-1)]
		// Those of the stretch's last moments are sent too late if this thread is late, and count from when they were due.
		due := int64(float64(min(past, int64(t.For))) / 1e9 * float64(t.Rate))
		for n := 0; offered < due && n < maxEvents; n++ { // then answers are read, so that those due wait for no more than this
			at := start + int64(float64(offered+1)/float64(t.Rate)*1e9)
			if failed = s.say(min(at, now)); failed != nil {
				return true
			}
			offered++
		}
		if failed = s.comeAgain(now); failed != nil {
			return true
		}
		k.waitMS = 1
		if offered < due {
			k.waitMS = 0
		}
		return past >= int64(t.For) && offered >= due
	})
	if failed != nil {
		return failed
	}
	return err
}

// say sends the next connection's message, due at at.
func (s *offer) say(at int64) error {
	c := &s.k.conns[s.next]
	if s.next++; s.next == len(s.k.conns) {
		s.next = 0
	}
	s.slice.Offered++
	if c.state != stateOpen || int(c.sendSeq-c.recvSeq) >= len(c.sent) {
		s.slice.Withheld++
		return nil
	}
	s.inFlight++
	s.k.out = s.k.appendMessage(s.k.out[:0], c, at)
	if err := s.k.transmit(c, s.k.out); err != nil && !s.k.mayEnd(c, err) {
		return err
	}
	return nil
}

// ended notes that the server has ended c.
func (s *offer) ended(c *conn) bool {
	s.slice.Closed++
	s.inFlight -= int(c.sendSeq - c.recvSeq)
	c.sendSeq, c.recvSeq = 0, 0
	s.k.shut(c)
	// Clients do not come again all at once; which one when is the same in every run.
	c.start = s.k.now() + int64(s.how.Return)/2 + int64(s.how.Return)*int64(c.key[0])/255
	s.away = append(s.away, c)
	return true
}

// comeAgain connects those whose time has come.
func (s *offer) comeAgain(now int64) error {
	if now-s.looked < int64(time.Millisecond) {
		return nil
	}
	s.looked = now
	away := s.away
	s.away = s.away[:0]
	for i, c := range away {
		if c.start > now {
			s.away = append(s.away, c)
		} else if err := s.k.connect(c); err != nil {
			s.away = append(s.away, away[i+1:]...)
			return err
		}
	}
	return nil
}

// message implements sink.
func (s *offer) message(c *conn, now int64) error {
	if c.recvSeq > c.sendSeq {
		return fmt.Errorf("load: connection %d: a reply to nothing", c.id)
	}
	s.inFlight--
	took := now - c.sent[int(c.recvSeq-1)%len(c.sent)]
	s.slice.Answered++
	if took <= int64(s.how.Deadline) {
		s.slice.InTime++
	}
	s.slice.Latency.Record(time.Duration(took))
	return nil
}

// flush implements sink.
func (s *offer) flush(*conn) error { return nil }
