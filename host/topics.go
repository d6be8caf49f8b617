package host

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// ErrTopicName means that what was given names no topic: 1 to 255 bytes of UTF-8
// without control characters do.
var ErrTopicName = errors.New("host: not a topic's name")

// TopicInfo is a topic that has members.
type TopicInfo struct {
	Module  string
	Topic   string
	Members int // 0 when the last has left since it was found
}

// Topics lists the topics of a module whose names begin with prefix and come
// behind after, by name, and whether there are more behind them. limit is at
// most 1000; 0 means 100. It fails with ErrUnknownModule. It looks at one
// connection at a time, and holds up none. Any goroutine.
func (s *Server) Topics(module, prefix, after string, limit int) (topics []TopicInfo, more bool, err error) {
	tn := s.tenants[module]
	if tn == nil {
		return nil, false, ErrUnknownModule
	}
	p := newPage(limit, func(a, b *topic) int { return strings.Compare(a.name, b.name) })
	s.hub.each(func(c *Conn) { // and not over the index, whose lock every publish takes
		if c.owner.Load() != tn {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.more == nil {
			return
		}
		for _, m := range c.more.joined {
			if name := m.topic.name; name > after && strings.HasPrefix(name, prefix) {
				p.offer(m.topic)
			}
		}
	})
	chosen, more := p.done()
	topics = make([]TopicInfo, len(chosen))
	for i, tp := range chosen {
		topics[i] = TopicInfo{Module: module, Topic: tp.name, Members: tn.topics.count([]byte(tp.name))}
	}
	return topics, more, nil
}

// TopicMembers lists the ids of a topic's members that come behind after, in
// ascending order, and whether there are more behind them. limit is at most
// 1000; 0 means 100. A topic that nobody has joined has none. It fails with
// ErrUnknownModule or ErrTopicName. Any goroutine.
func (s *Server) TopicMembers(module, topic string, after uint64, limit int) (ids []uint64, more bool, err error) {
	tn := s.tenants[module]
	switch {
	case tn == nil:
		return nil, false, ErrUnknownModule
	case !validTopic([]byte(topic)):
		return nil, false, ErrTopicName
	}
	tp := tn.topics.find([]byte(topic))
	if tp == nil {
		return nil, false, nil
	}
	tp.mu.Lock()
	members := make([]*Conn, len(tp.members))
	for i, m := range tp.members {
		members[i] = m.conn
	}
	tp.mu.Unlock()
	p := newPage(limit, cmp.Compare[uint64])
	for _, c := range members {
		if uint64(c.id) > after {
			p.offer(uint64(c.id))
		}
	}
	ids, more = p.done()
	return slices.Clip(ids), more, nil
}

// Publish sends one message to every member of a topic, as a handler's publish
// does: all members see publishes in the same order, and a member that reads too
// slowly is closed. It returns how many members it was sent to; a topic that
// nobody has joined is none. p is the caller's again when Publish returns. It
// fails with ErrUnknownModule, ErrTopicName, ErrTooBig or ErrNotUTF8, and then
// nothing was sent. Any goroutine.
func (s *Server) Publish(module, topic string, binary bool, p []byte) (receivers int, err error) {
	tn := s.tenants[module]
	switch {
	case tn == nil:
		return 0, ErrUnknownModule
	case !validTopic([]byte(topic)):
		return 0, ErrTopicName
	}
	frame, err := s.frame(binary, p)
	if err != nil {
		return 0, err
	}
	defer frame.Release()
	t := s.turns.borrow(s)
	defer s.turns.giveBack(t)
	return t.publish(tn, []byte(topic), frame, 0), nil
}

// Members is how many connections a topic of that module has. Any goroutine.
func (s *Server) Members(module, topic string) int {
	tn := s.tenants[module]
	if tn == nil {
		return 0
	}
	return tn.topics.count([]byte(topic))
}
