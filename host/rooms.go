package host

import (
	"sync"
	"unicode/utf8"

	"weir/pool"
)

// topicIndex holds one module's topics by name; topics of different modules
// never meet.
type topicIndex struct {
	mu     sync.RWMutex
	topics map[string]*topic
}

// topic is a named set of connections. Who publishes holds mu while the frame
// is queued for every member, so all members see publishes in the same order
// and membership changes between two publishes, never within one. Nothing is
// written to a socket under mu.
type topic struct {
	name string

	mu      sync.Mutex // below
	members []*membership
	// deflating is how many of them want publishes compressed once for all.
	deflating int
	gone      bool      // the last member left and the index forgot it
	under     *policies // that rule was made by
	rule      *dropRule // nil: none
	number    uint64    // of the latest message, if there is a rule
}

// membership is one connection's place in one topic.
type membership struct {
	conn  *Conn
	topic *topic
	index int // in topic.members; topic.mu
}

// validTopic reports that name may name a topic: 1 to 255 bytes of UTF-8
// without control characters.
func validTopic(name []byte) bool {
	if len(name) == 0 || len(name) > maxTopicBytes || !utf8.Valid(name) {
		return false
	}
	for _, b := range name {
		if b < ' ' || b == 0x7F {
			return false
		}
	}
	return true
}

// find returns the topic of that name or nil.
func (x *topicIndex) find(name []byte) *topic {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.topics[string(name)]
}

// findOrMake returns the topic of that name, locked and not gone.
func (x *topicIndex) findOrMake(name []byte) *topic {
	for {
		tp := x.find(name)
		if tp == nil {
			x.mu.Lock()
			if tp = x.topics[string(name)]; tp == nil {
				if x.topics == nil {
					x.topics = make(map[string]*topic)
				}
				tp = &topic{name: string(name)}
				x.topics[tp.name] = tp
			}
			x.mu.Unlock()
		}
		tp.mu.Lock()
		if !tp.gone {
			return tp
		}
		tp.mu.Unlock()
	}
}

// join makes c a member, unless it is one or is closing.
func (x *topicIndex) join(c *Conn, name []byte) {
	tp := x.findOrMake(name)
	c.mu.Lock()
	if !c.sealed && !c.dead && c.membershipLocked(name) == nil {
		m := &membership{conn: c, topic: tp, index: len(tp.members)}
		tp.members = append(tp.members, m)
		tp.deflating += c.agreed.shares()
		more := c.extrasLocked()
		more.joined = append(more.joined, m)
	}
	c.mu.Unlock()
	empty := len(tp.members) == 0
	tp.mu.Unlock()
	if empty {
		x.forgetIfEmpty(tp)
	}
}

// leave ends c's membership, if there is one. It leaves connection and topic in
// one step, so that a join by somebody else cannot come between and make c a
// member twice.
func (x *topicIndex) leave(c *Conn, name []byte) {
	for {
		tp := x.find(name)
		if tp == nil {
			return
		}
		tp.mu.Lock()
		c.mu.Lock()
		m := c.membershipLocked(name)
		mine := m != nil && m.topic == tp
		if mine {
			c.forgetLocked(m)
		}
		c.mu.Unlock()
		if mine {
			tp.removeLocked(m)
		}
		empty := len(tp.members) == 0
		tp.mu.Unlock()
		if mine && empty {
			x.forgetIfEmpty(tp)
		}
		if m == nil || mine {
			return
		}
		// Meanwhile the topic was forgotten, and another of that name made and joined.
	}
}

// forgetLocked takes m out of what c has joined. Conn.mu is held.
func (c *Conn) forgetLocked(m *membership) {
	joined := c.more.joined
	last := len(joined) - 1
	for i := range joined {
		if joined[i] == m {
			joined[i] = joined[last]
			joined[last] = nil
			c.more.joined = joined[:last]
			return
		}
	}
}

// leaveAll ends every membership of a connection that is closing.
func (x *topicIndex) leaveAll(c *Conn) {
	c.mu.Lock()
	var joined []*membership
	if c.more != nil {
		joined, c.more.joined = c.more.joined, nil
	}
	c.mu.Unlock()
	for _, m := range joined {
		x.drop(m)
	}
}

// drop takes m out of its topic. The caller has taken it out of its
// connection, and thus is the only one to do so.
func (x *topicIndex) drop(m *membership) {
	tp := m.topic
	tp.mu.Lock()
	tp.removeLocked(m)
	empty := len(tp.members) == 0
	tp.mu.Unlock()
	if empty {
		x.forgetIfEmpty(tp)
	}
}

// removeLocked takes m out of the members. topic.mu is held.
func (tp *topic) removeLocked(m *membership) {
	last := len(tp.members) - 1
	tp.members[m.index] = tp.members[last]
	tp.members[m.index].index = m.index
	tp.members[last] = nil
	tp.members = tp.members[:last]
	tp.deflating -= m.conn.agreed.shares()
}

func (x *topicIndex) forgetIfEmpty(tp *topic) {
	x.mu.Lock()
	defer x.mu.Unlock()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if len(tp.members) == 0 && !tp.gone {
		tp.gone = true
		delete(x.topics, tp.name)
	}
}

// count is the number of members.
func (x *topicIndex) count(name []byte) int {
	tp := x.find(name)
	if tp == nil {
		return 0
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return len(tp.members)
}

// membershipLocked returns c's membership in the topic of that name or nil.
// Conn.mu is held. A connection is in few topics: a walk beats a map.
func (c *Conn) membershipLocked(name []byte) *membership {
	if c.more == nil {
		return nil
	}
	for _, m := range c.more.joined {
		if m.topic.name == string(name) {
			return m
		}
	}
	return nil
}

func (c *Conn) inTopic(name []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.membershipLocked(name) != nil
}

// fanOutInline is how many sockets a publish writes to before the turn goes on;
// more are left to a worker, so that a large topic does not hold up whoever
// shares the publisher's goroutine.
const fanOutInline = 64

// publish queues frame, or its compressed form, for every member of the topic but
// except, then writes it, and returns how many that are. Each form was encoded
// once; every queue holds a reference. Hot path, 0
// allocs a receiver (TestPublishAllocs).
func (t *turn) publish(tn *tenant, name []byte, frame *pool.Buf, except uint64) (receivers int) {
	tp := tn.topics.find(name)
	if tp == nil {
		if t.tails != nil {
			t.showPublish(tn, nil, name, frame.B, 0)
		}
		return 0
	}
	var by *policies
	if t.crew != nil {
		by = t.crew.policies
	} else { // an operator publishes
		by = tn.rule.Load().stable.policies
	}
	f := takeFanOut(t.srv)
	frame.Retain()
	f.forms.plain = frame
	f.forms.compress(t.srv, tp)
	slow := f.slow
	refused, sent, packed, packedBytes := 0, 0, 0, 0
	tp.mu.Lock()
	of := tp.ruleLocked(tn, by)
	for _, m := range tp.members {
		c := m.conn
		if uint64(c.id) == except {
			continue
		}
		form, how := f.forms.of(c), queuedDropped
		if of.rule == nil {
			how = c.enqueue(form)
		} else {
			how = c.enqueueDroppable(form, of)
		}
		switch how {
		case queuedMine:
			f.conns = append(f.conns, c)
		case queuedQuiet:
		case queuedFull:
			slow = append(slow, c)
			continue
		case queuedClosed:
			refused++
			continue
		case queuedDropped:
			continue
		}
		sent++
		if form != frame {
			packed++
			packedBytes += len(form.B)
		}
	}
	tp.mu.Unlock()
	t.stats.framesOut.Add(uint64(sent))
	t.stats.refused.Add(uint64(refused))
	if packed > 0 {
		t.srv.compression.noteSent(packed*len(frame.B), packedBytes)
	}
	if t.tails != nil {
		t.showPublish(tn, tp, name, frame.B, sent)
	}
	for i, c := range slow {
		c.tooSlow()
		slow[i] = nil
	}
	f.slow = slow[:0]
	if len(f.conns) == 0 {
		f.giveBack()
		return sent
	}
	f.of = of
	if len(f.conns) <= fanOutInline || !t.srv.exec.Submit(f) { // or the pool is closing
		f.send(len(f.conns))
		f.giveBack()
	}
	return sent
}

// fanOut is the writing of one publish: the sockets whose writer the publisher
// has become. As a pool task it works through them in turns.
type fanOut struct {
	srv   *Server
	forms forms
	of    tag // what they are
	conns []*Conn
	done  int     // conns[:done] are written
	slow  []*Conn // scratch of publish
}

var fanOuts = sync.Pool{New: func() any { return new(fanOut) }}

func takeFanOut(s *Server) *fanOut {
	f := fanOuts.Get().(*fanOut)
	f.srv = s
	return f
}

func (f *fanOut) giveBack() {
	f.forms.release()
	f.of, f.srv, f.conns, f.done = tag{}, nil, f.conns[:0], 0
	if cap(f.conns) > 1<<16 {
		f.conns = nil
	}
	fanOuts.Put(f)
}

// send writes to the next n sockets.
func (f *fanOut) send(n int) {
	for range min(n, len(f.conns)-f.done) {
		c := f.conns[f.done]
		c.send(f.forms.of(c), f.of)
		f.conns[f.done] = nil
		f.done++
	}
}

// Run implements pool.Task.
func (f *fanOut) Run() (more bool) {
	f.send(4 * fanOutInline)
	if f.done < len(f.conns) {
		return true
	}
	f.giveBack()
	return false
}
