package load

import (
	"context"
	"fmt"
	"time"
)

// probeSilence is how long nothing arrives before the publisher takes it that
// some member has not joined yet and tries again.
const probeSilence = 300 * time.Millisecond

// maxProbes bounds the tries.
const maxProbes = 50

// publish is the sink of Publish. Connection 0 publishes; all are members, it
// too.
type publish struct {
	k          *client
	latency    *Hist
	deliveries uint64
	counting   bool
	stopping   bool
	probing    bool
	arrived    int64 // when the last delivery did
	missing    []int // deliveries to come of the messages in flight, by sequence number modulo the depth
	inFlight   int
	again      int // messages to publish at the flush
}

// Publish opens o.Conns connections, all members of what o.Path stands for, and
// publishes on the first: o.Depth messages are in flight, the next one leaves
// when every member has the oldest. It counts deliveries.
//
// A server may answer a handshake before the connection is a member, so
// messages are published until one has reached all.
func Publish(ctx context.Context, o Options) (*Result, error) {
	k, err := newClient(o.withDefaults())
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.publish(ctx)
}

func (k *client) publish(ctx context.Context) (*Result, error) {
	r := new(Result)
	s := &publish{k: k, latency: &r.Latency, missing: make([]int, k.o.Depth)}
	k.sink = s
	k.publisher = &k.conns[0]
	k.silent = k.o.Raw
	k.prepare(k.publisher)
	if err := k.openAll(ctx); err != nil {
		return nil, err
	}
	if err := s.probe(ctx); err != nil {
		return nil, err
	}
	s.again = k.o.Depth
	if err := s.flush(nil); err != nil {
		return nil, err
	}
	err := k.measure(ctx, r, func(on bool) {
		s.counting = on
		if on {
			s.deliveries = 0
		} else {
			r.Messages = s.deliveries
		}
	})
	if err != nil {
		return nil, err
	}
	s.stopping = true
	if err := k.run(ctx, func(int64) bool { return s.inFlight == 0 }); err != nil {
		return nil, fmt.Errorf("%d messages not delivered to all: %w", s.inFlight, err)
	}
	return r, nil
}

// probe publishes until a message has reached every member.
func (s *publish) probe(ctx context.Context) error {
	s.probing = true
	defer func() { s.probing = false }()
	for range maxProbes {
		s.again = 1
		for i := range s.k.conns {
			s.k.conns[i].recvSeq = s.k.publisher.sendSeq
		}
		s.inFlight = 0
		if err := s.flush(nil); err != nil {
			return err
		}
		s.arrived = s.k.now()
		err := s.k.run(ctx, func(now int64) bool {
			return s.inFlight == 0 || now-s.arrived > int64(probeSilence)
		})
		if err != nil || s.inFlight == 0 {
			return err
		}
	}
	return fmt.Errorf("load: %d messages were published and none reached all %d members", maxProbes, len(s.k.conns))
}

// message implements sink.
func (s *publish) message(c *conn, now int64) error {
	if c.recvSeq > s.k.publisher.sendSeq {
		return fmt.Errorf("load: connection %d: a delivery of nothing", c.id)
	}
	seq := int(c.recvSeq-1) % s.k.o.Depth
	if s.counting {
		s.deliveries++
		s.latency.Record(time.Duration(now - s.k.publisher.sent[seq]))
	}
	s.arrived = now
	if s.missing[seq]--; s.missing[seq] == 0 {
		s.inFlight--
		if !s.stopping && !s.probing {
			s.again++
		}
	}
	return nil
}

// flush implements sink.
func (s *publish) flush(*conn) error {
	if s.again == 0 {
		return nil
	}
	k := s.k
	k.out = k.out[:0]
	now := k.now()
	for ; s.again > 0; s.again-- {
		s.missing[int(k.publisher.sendSeq)%k.o.Depth] = len(k.conns)
		s.inFlight++
		k.out = k.appendMessage(k.out, k.publisher, now)
	}
	return k.transmit(k.publisher, k.out)
}
