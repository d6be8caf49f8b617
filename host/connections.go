package host

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"weir/pool"
)

// Errors of what reaches connections and topics from outside a handler, to be
// found with errors.Is.
var (
	// ErrUnknownConn means that no WebSocket of that id is open.
	ErrUnknownConn = errors.New("host: no open connection of that id")
	// ErrConnClosing means that the connection closes, and takes nothing more.
	ErrConnClosing = errors.New("host: the connection is closing")
	// ErrQueueFull means that the peer reads too slowly, or all peers together do.
	// The connection stays open; nothing was sent.
	ErrQueueFull = errors.New("host: the outbound queue is full")
	// ErrTooBig means that a message is larger than an outbound queue may be
	// (websocket.outbound_queue_size), or the reason of a close longer than 123
	// bytes.
	ErrTooBig = errors.New("host: too big")
	// ErrNotUTF8 means that a text, or the reason of a close, is not UTF-8.
	ErrNotUTF8 = errors.New("host: not UTF-8")
	// ErrCloseCode means that no server may close with that code: 1000, 1001, 1008,
	// 1011 to 1013 and 3000 to 4999 are allowed.
	ErrCloseCode = errors.New("host: not a close code that may be sent")
)

// ConnInfo is what is known of one open WebSocket.
type ConnInfo struct {
	// ID is what handlers and logs call it.
	ID uint64
	// Module serves it, with its generation of that number.
	Module     string
	Generation uint64
	// Route is the path pattern as it was configured, Path and Query what was
	// asked for, and Protocol the subprotocol, empty when there is none.
	Route, Path, Query, Protocol string
	// Remote is the peer; the zero value for a unix socket.
	Remote netip.AddrPort
	// Key is that of the scope key.
	Key string
	// Topics are those that it has joined, sorted.
	Topics []string
	// StateBytes is the size of what handlers have attached to it, QueuedBytes that
	// of the frames which wait for its socket.
	StateBytes, QueuedBytes int
	// OpenedAt is when it became a WebSocket, in ms since 1970, to the second.
	OpenedAt int64
	// Closing says that it takes no more messages.
	Closing bool
}

// ConnFilter chooses connections. The zero value of a field means all.
type ConnFilter struct {
	Module string // its name
	Route  string // path pattern as it was configured
	Topic  string // that they have joined
	Remote netip.Prefix
	// After is the id behind which to begin: the last of the page before.
	After uint64
	// Limit is how many are wanted, at most 1000; 0 means 100.
	Limit int
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// page gathers the first few, in order, of what is offered in any order.
type page[T any] struct {
	limit int
	order func(a, b T) int
	kept  []T  // the first limit+1 of what was offered, and some more
	full  bool // bound is set
	bound T    // what is not before it does not belong on the page
}

func newPage[T any](limit int, order func(a, b T) int) *page[T] {
	if limit <= 0 {
		limit = defaultPage
	}
	return &page[T]{limit: min(limit, maxPage), order: order}
}

func (p *page[T]) offer(item T) {
	if p.full && p.order(item, p.bound) >= 0 {
		return
	}
	if p.kept = append(p.kept, item); len(p.kept) >= 4*p.limit+4 {
		p.tidy()
	}
}

// tidy leaves the first limit+1, each once.
func (p *page[T]) tidy() {
	slices.SortFunc(p.kept, p.order)
	p.kept = slices.CompactFunc(p.kept, func(a, b T) bool { return p.order(a, b) == 0 })
	if len(p.kept) > p.limit {
		clear(p.kept[p.limit+1:])
		p.kept = p.kept[:p.limit+1]
		p.full, p.bound = true, p.kept[p.limit]
	}
}

// done is the page, and whether more follows.
func (p *page[T]) done() (items []T, more bool) {
	p.tidy()
	if len(p.kept) > p.limit {
		return p.kept[:p.limit], true
	}
	return p.kept, false
}

// Connections lists the open WebSockets that f chooses, by ascending id, and
// whether there are more behind them. It looks at one connection at a time, and
// holds up none. Any goroutine.
func (s *Server) Connections(f ConnFilter) (conns []ConnInfo, more bool) {
	p := newPage(f.Limit, func(a, b *Conn) int { return cmp.Compare(a.id, b.id) })
	s.hub.each(func(c *Conn) {
		if uint64(c.id) > f.After && f.chooses(c) {
			p.offer(c)
		}
	})
	chosen, more := p.done()
	conns = make([]ConnInfo, len(chosen))
	for i, c := range chosen {
		conns[i] = c.info()
	}
	return conns, more
}

func (f *ConnFilter) chooses(c *Conn) bool {
	tn := c.owner.Load()
	switch {
	case tn == nil,
		f.Module != "" && tn.name != f.Module,
		f.Route != "" && c.route.pattern.text != f.Route,
		f.Remote.IsValid() && !f.Remote.Contains(c.sock.RemoteAddr().Addr()):
		return false
	}
	return f.Topic == "" || c.inTopic([]byte(f.Topic))
}

// Connection is what is known of the open WebSocket of that id, or
// ErrUnknownConn. Any goroutine.
func (s *Server) Connection(id uint64) (ConnInfo, error) {
	c := s.hub.open(id)
	if c == nil {
		return ConnInfo{}, ErrUnknownConn
	}
	return c.info(), nil
}

// info describes a connection that has been opened. Any goroutine.
func (c *Conn) info() ConnInfo {
	path, query, _ := strings.Cut(c.attrs.uri, "?")
	info := ConnInfo{
		ID:         uint64(c.id),
		Module:     c.route.tenant.name,
		Generation: c.crew().number,
		Route:      c.route.pattern.text,
		Path:       path,
		Query:      query,
		Protocol:   c.attrs.protocol,
		Remote:     c.sock.RemoteAddr(),
		OpenedAt:   int64(c.openedAt) * 1000,
	}
	if c.route.scope == keyScope {
		info.Key = c.route.cell.key
	}
	c.mu.Lock()
	info.Closing = c.closingLocked()
	if c.out != nil {
		info.QueuedBytes = c.out.bytes
	}
	if c.more != nil {
		info.StateBytes = len(c.more.state)
		for _, m := range c.more.joined {
			info.Topics = append(info.Topics, m.topic.name)
		}
	}
	c.mu.Unlock()
	slices.Sort(info.Topics)
	return info
}

// closingLocked reports that c takes nothing more, since it closes or somebody
// has asked for that. Conn.mu is held.
func (c *Conn) closingLocked() bool {
	return c.sealed || c.dead || c.more != nil && c.more.asked.cause != causeNone
}

// open returns the open connection that id names, whatever its module, or nil.
func (h *hub) open(id uint64) *Conn {
	c := h.at(id)
	if c == nil || c.owner.Load() == nil {
		return nil
	}
	return c
}

// SendTo sends one message to the connection of that id, behind everything that
// handlers have sent to it. p is the caller's again when SendTo returns. It
// fails with ErrUnknownConn, ErrConnClosing, ErrQueueFull, ErrTooBig or
// ErrNotUTF8, and then nothing was sent. Any goroutine.
func (s *Server) SendTo(id uint64, binary bool, p []byte) error {
	c := s.hub.open(id)
	if c == nil {
		return ErrUnknownConn
	}
	frame, err := s.frame(binary, p)
	if err != nil {
		return err
	}
	defer frame.Release()
	c.mu.Lock()
	closing := c.closingLocked()
	c.mu.Unlock()
	if closing {
		return ErrConnClosing
	}
	t := s.turns.borrow(s)
	defer s.turns.giveBack(t)
	switch t.sendTo(c, frame) {
	case queuedFull:
		return ErrQueueFull
	case queuedClosed:
		return ErrConnClosing
	}
	return nil
}

// frame encodes a message that comes from outside. The caller releases it.
func (s *Server) frame(binary bool, p []byte) (*pool.Buf, error) {
	total := frameBytes(len(p))
	if total > int(s.opts().WebSocket.OutboundQueueSize) {
		return nil, ErrTooBig
	}
	kind := int32(2)
	if !binary {
		kind = 1
		if !utf8.Valid(p) {
			return nil, ErrNotUTF8
		}
	}
	op, _ := opcode(kind)
	frame := pool.Take(total)
	appendFrame(frame.B[:0], op, p)
	return frame, nil
}

// CloseConn asks the connection of that id to close with that code and reason,
// of at most 123 bytes, behind everything that was sent to it; the event that its
// handler has begun ends before. It fails with ErrUnknownConn, ErrConnClosing,
// ErrCloseCode, ErrTooBig or ErrNotUTF8. Any goroutine.
func (s *Server) CloseConn(id uint64, code int, reason string) error {
	c := s.hub.open(id)
	switch {
	case c == nil:
		return ErrUnknownConn
	case code < 0 || code > 4999 || !mayHandlerSend(int32(code)):
		return ErrCloseCode
	case len(reason) > maxReasonBytes:
		return ErrTooBig
	case !utf8.ValidString(reason):
		return ErrNotUTF8
	}
	if !c.ask(closeInfo{code: uint16(code), reason: reason, cause: causeOperator}) {
		return ErrConnClosing
	}
	c.wakeUp(inClose)
	return nil
}

// State is the attachment that a handler has given the connection from that
// address; false when there is no such connection. It looks at every connection
// of the server: for tests. The caller owns the result. Any goroutine.
func (s *Server) State(peer netip.AddrPort) (state []byte, ok bool) {
	s.hub.each(func(c *Conn) {
		if ok || c.owner.Load() == nil || c.sock.RemoteAddr() != peer {
			return
		}
		ok = true
		c.mu.Lock()
		if c.more != nil {
			state = bytes.Clone(c.more.state)
		}
		c.mu.Unlock()
	})
	return state, ok
}
