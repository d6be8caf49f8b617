package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to load and how. Address is required.
type Options struct {
	// Address is HOST:PORT; the host must be a loopback address.
	Address string
	// Path is requested; empty means "/". A raw server never sees it.
	Path string
	// Raw means that the server speaks no WebSocket but sends back, or
	// publishes, the bytes it gets; it gets the same ones as the others.
	Raw bool
	// Conns is the number of connections, for Connect that of a batch; 0 means
	// 1.
	Conns int
	// PayloadBytes is the size of a message; 0 means empty messages.
	PayloadBytes int
	// Depth is the number of messages in flight per connection, for Publish in
	// all; 0 means 1.
	Depth int
	// Opening is the number of connections that are being opened at a time; 0
	// means 256.
	Opening int
	// Text sends text messages; else they are binary.
	Text bool
	// Deflate offers permessage-deflate without takeover and sends JSON compressed,
	// each connection the same message again and again; replies of 512 bytes and
	// more must come compressed too.
	Deflate bool
	// Warmup is how long the load runs before it is counted; for Idle, how
	// long the connections rest before each hook.
	Warmup time.Duration
	// Measure is how long it is counted.
	Measure time.Duration
	// Patience is how long nothing at all may arrive while something is due;
	// 0 means 10 s.
	Patience time.Duration
	// Begin and End, unless nil, are called on the load's goroutine at both
	// ends of the measured time, by Connect at both ends of every batch, to
	// look at the server. An error ends the run.
	Begin, End func() error
}

func (o Options) withDefaults() Options {
	if o.Path == "" {
		o.Path = "/"
	}
	o.Conns = max(o.Conns, 1)
	o.Depth = max(o.Depth, 1)
	if o.Opening <= 0 {
		o.Opening = defaultOpening
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Begin == nil {
		o.Begin = func() error { return nil }
	}
	if o.End == nil {
		o.End = func() error { return nil }
	}
	return o
}

// Result is what a run saw.
type Result struct {
	// Messages is the number of whole messages received in the measured time
	// (for Connect and Idle: of handshakes).
	Messages uint64
	// Elapsed is the measured time.
	Elapsed time.Duration
	// Latency is from before a message is written until its reply was read
	// (for Publish: until a member read it; for Connect and Idle: from
	// connect to the answer).
	Latency Hist
}

const (
	readBufferBytes = 256 << 10
	maxEvents       = 512
	maxWaitMS       = 50
	defaultOpening  = 256 // connections that are being opened at a time
)

// conn states.
const (
	stateClosed  = iota
	stateDialing // waiting to be writable
	stateUpgrade // waiting for the answer to the handshake
	stateOpen
)

// conn is one connection.
type conn struct {
	fd    int
	id    uint32 // index in client.conns
	gen   int32  // counts the descriptors in this place; events carry it
	state uint8
	wants uint32 // events registered for

	answer []byte // to the handshake, while it is incomplete
	start  int64  // of connect

	// Sending. frame is the masked frame of this connection, whose stamp
	// is rewritten for each message; rest is what the socket did not take.
	key     [4]byte
	frame   []byte
	sendSeq uint32
	rest    []byte
	sent    []int64 // times, by sequence number modulo the depth

	// Receiving.
	recvSeq  uint32
	in       receiver
	verified []byte // a compressed reply that was found right
}

// sink hears of each whole message. flush follows when what one read brought
// has been consumed.
type sink interface {
	message(c *conn, now int64) error
	flush(c *conn) error
}

// client owns the connections of one run. One goroutine, locked to its thread.
type client struct {
	o          Options
	base       time.Time
	epoll      int
	dialer     *dialer
	handshakes []handshake
	op         byte
	tmpl       []byte
	stampAt    int // offset of the payload in a frame
	stampLen   int
	conns      []conn
	events     [maxEvents]unix.EpollEvent
	buf        []byte
	out        []byte // what a flush will send
	expect     []byte // a raw message as it must arrive
	sink       sink
	opened     func(c *conn, now int64) error
	ended      func(c *conn) bool // c was ended by the server: does the run go on? nil: no
	publisher  *conn              // whose messages all receive; nil: each its own
	waitMS     int                // milliseconds
	silent     bool               // open without a handshake: a raw server would publish it
}

// newClient prepares o.Conns connections but opens none. The caller closes it.
func newClient(o Options) (*client, error) {
	d, err := newDialer(o.Address)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	k := &client{
		o: o, base: time.Now(), epoll: epoll, dialer: d,
		handshakes: handshakes(o.Address, o.Path, o.Deflate),
		op:         opBinary,
		tmpl:       template(o.PayloadBytes),
		stampLen:   min(stampBytes, o.PayloadBytes),
		conns:      make([]conn, o.Conns),
		buf:        make([]byte, readBufferBytes),
		opened:     func(*conn, int64) error { return nil },
		waitMS:     maxWaitMS,
	}
	if o.Text {
		k.op = opText
	}
	if o.Deflate {
		k.tmpl = document(o.PayloadBytes)
	}
	goruntime.LockOSThread()
	rng := rand.New(rand.NewPCG(1, uint64(o.Conns)))
	for i := range k.conns {
		c := &k.conns[i]
		c.fd, c.id = -1, uint32(i)
		binary.BigEndian.PutUint32(c.key[:], rng.Uint32()|1)
	}
	return k, nil
}

// prepare makes the connection's frame and its places for send times.
func (k *client) prepare(c *conn) {
	if k.o.Deflate {
		c.frame = appendFrame(nil, k.op, c.key, deflate(k.plain(c)))
		c.frame[0] |= packedBit
		k.stampLen = 0 // within what is compressed
		c.sent = make([]int64, k.o.Depth)
		return
	}
	c.frame = appendFrame(nil, k.op, c.key, k.tmpl)
	k.stampAt = len(c.frame) - len(k.tmpl)
	c.sent = make([]int64, k.o.Depth)
}

func (k *client) close() {
	for i := range k.conns {
		k.shut(&k.conns[i])
	}
	_ = unix.Close(k.epoll)
	goruntime.UnlockOSThread()
}

// now is nanoseconds since the client was made.
func (k *client) now() int64 { return int64(time.Since(k.base)) }

// shut closes a connection without a word.
func (k *client) shut(c *conn) {
	if c.state != stateClosed {
		_ = unix.Close(c.fd) // leaves epoll by itself: it was never duplicated
		c.fd, c.state, c.gen = -1, stateClosed, c.gen+1
	}
}

// connect starts opening c. On loopback the connection usually stands before
// connect(2) returns, so the request is tried at once.
func (k *client) connect(c *conn) error {
	c.start = k.now()
	fd, err := k.dialer.dial()
	if err != nil {
		return fmt.Errorf("load: open connection %d: %w", c.id, err)
	}
	c.fd, c.state, c.answer = fd, stateDialing, c.answer[:0]
	c.in.reset()
	c.rest = c.rest[:0]
	c.sendSeq, c.recvSeq = 0, 0
	c.wants = unix.EPOLLIN
	if k.silent {
		c.wants = unix.EPOLLOUT
		return k.control(unix.EPOLL_CTL_ADD, c)
	}
	request := k.handshakes[c.id%handshakeKeys].request
	n, errno := send(fd, request)
	switch {
	case errno == 0 && n == len(request):
		c.state = stateUpgrade
	case errno == unix.EAGAIN || errno == unix.ENOTCONN:
		c.wants = unix.EPOLLOUT
	default:
		return fmt.Errorf("load: connection %d: request: sent %d bytes: %w", c.id, n, errno)
	}
	return k.control(unix.EPOLL_CTL_ADD, c)
}

func (k *client) control(op int, c *conn) error {
	ev := unix.EpollEvent{Events: c.wants, Fd: int32(c.id), Pad: c.gen}
	if err := unix.EpollCtl(k.epoll, op, c.fd, &ev); err != nil {
		return fmt.Errorf("load: epoll_ctl: %w", err)
	}
	return nil
}

// want changes what c is registered for.
func (k *client) want(c *conn, events uint32) error {
	if c.wants == events {
		return nil
	}
	c.wants = events
	return k.control(unix.EPOLL_CTL_MOD, c)
}

// openAll opens every connection, at most o.Opening at a time.
func (k *client) openAll(ctx context.Context) error {
	next, open := 0, 0
	before := k.opened
	defer func() { k.opened = before }()
	k.opened = func(c *conn, now int64) error {
		open++
		if err := before(c, now); err != nil {
			return err
		}
		if next < len(k.conns) {
			next++
			return k.connect(&k.conns[next-1])
		}
		return nil
	}
	for next < min(k.o.Opening, len(k.conns)) {
		next++
		if err := k.connect(&k.conns[next-1]); err != nil {
			return err
		}
	}
	return k.run(ctx, func(int64) bool { return open == len(k.conns) })
}

// rest serves what arrives for the duration d.
func (k *client) rest(ctx context.Context, d time.Duration) error {
	until := k.now() + int64(d)
	patience := k.o.Patience
	k.o.Patience = d + time.Second // silence is what is expected
	k.waitMS = min(int(d.Milliseconds())/4+1, maxWaitMS)
	defer func() { k.o.Patience, k.waitMS = patience, maxWaitMS }()
	return k.run(ctx, func(now int64) bool { return now >= until })
}

// errSilence ends a run in which the server stopped answering.
var errSilence = errors.New("load: the server has stopped answering")

// errClosed means that the server has ended a connection, or not begun it.
var errClosed = errors.New("closed by the server")

// mayEnd asks who loads whether the run goes on without c.
func (k *client) mayEnd(c *conn, err error) bool {
	closed := errors.Is(err, errClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
	return closed && k.ended != nil && k.ended(c)
}

// run handles events until done says so. It asks before every wait, and at
// least every maxWaitMS.
func (k *client) run(ctx context.Context, done func(now int64) bool) error {
	heard := k.now()
	for {
		now := k.now()
		if done(now) {
			return nil
		}
		n, err := k.wait(k.waitMS)
		if err != nil {
			return err
		}
		if n > 0 {
			heard = now
		} else if time.Duration(now-heard) > k.o.Patience {
			return fmt.Errorf("%w for %v", errSilence, k.o.Patience)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range n {
			ev := &k.events[i]
			c := &k.conns[ev.Fd]
			if c.gen != ev.Pad {
				continue // of a descriptor that is gone
			}
			if err := k.ready(c, ev.Events); err != nil && !k.mayEnd(c, err) {
				return err
			}
		}
	}
}

// wait waits for events, ms milliseconds at most.
func (k *client) wait(ms int) (int, error) {
	n, err := unix.EpollWait(k.epoll, k.events[:], ms)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("load: epoll_wait: %w", err)
	}
	return n, nil
}

// ready handles one event of c.
func (k *client) ready(c *conn, events uint32) error {
	switch c.state {
	case stateDialing:
		if err := socketError(c.fd); err != nil {
			return fmt.Errorf("load: connection %d: connect: %w", c.id, err)
		}
		if k.silent {
			c.state = stateOpen
			if err := k.want(c, unix.EPOLLIN); err != nil {
				return err
			}
			return k.opened(c, k.now())
		}
		request := k.handshakes[c.id%handshakeKeys].request
		if n, errno := send(c.fd, request); errno != 0 || n != len(request) {
			return fmt.Errorf("load: connection %d: request: sent %d bytes: %w", c.id, n, errno)
		}
		c.state = stateUpgrade
		return k.want(c, unix.EPOLLIN)
	case stateOpen:
		if len(c.rest) > 0 && events&unix.EPOLLOUT != 0 {
			if err := k.transmit(c, nil); err != nil {
				return err
			}
		}
		if events&^unix.EPOLLOUT == 0 {
			return nil
		}
	}
	n, errno := recv(c.fd, k.buf)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("load: connection %d: read: %w", c.id, errno)
	case n == 0:
		return fmt.Errorf("load: connection %d: %w", c.id, errClosed)
	}
	p, now := k.buf[:n], k.now()
	if c.state == stateUpgrade {
		return k.upgrade(c, p, now)
	}
	if err := k.consume(c, p, now); err != nil {
		return err
	}
	return k.sink.flush(c)
}

// upgrade takes bytes of the answer to the handshake.
func (k *client) upgrade(c *conn, p []byte, now int64) error {
	if len(c.answer) > 0 || k.o.Raw {
		c.answer = append(c.answer, p...)
		p = c.answer
	}
	h := &k.handshakes[c.id%handshakeKeys]
	if k.o.Raw {
		if len(p) < len(h.request) {
			return nil
		}
		if !bytes.Equal(p, h.request) {
			return fmt.Errorf("load: connection %d: the floor did not send back the request", c.id)
		}
	} else {
		n, err := checkResponse(p, h.accept)
		if err != nil {
			return fmt.Errorf("connection %d: %w", c.id, err)
		}
		if n == 0 {
			if len(c.answer) == 0 {
				c.answer = append(c.answer, p...)
			}
			return nil
		}
		if n < len(p) {
			return fmt.Errorf("load: connection %d: %d bytes behind the answer to the handshake", c.id, len(p)-n)
		}
	}
	c.answer = nil
	c.state = stateOpen
	return k.opened(c, now)
}

// appendMessage appends the next message of c, sent at now.
func (k *client) appendMessage(to []byte, c *conn, now int64) []byte {
	if k.stampLen > 0 {
		var s [stampBytes]byte
		stamp(&s, c.id, c.sendSeq)
		mask(s[:], c.key, 0)
		copy(c.frame[k.stampAt:k.stampAt+k.stampLen], s[:])
	}
	c.sent[int(c.sendSeq)%len(c.sent)] = now
	c.sendSeq++
	return append(to, c.frame...)
}

// transmit sends what was left over and then p.
func (k *client) transmit(c *conn, p []byte) error {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, p...)
		p = c.rest
	}
	n := 0
	for n < len(p) {
		m, errno := send(c.fd, p[n:])
		if errno == unix.EAGAIN {
			break
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("load: connection %d: write: %w", c.id, errno)
		}
		n += m
	}
	if n == len(p) {
		c.rest = c.rest[:0]
		return k.want(c, unix.EPOLLIN)
	}
	c.rest = append(c.rest[:0], p[n:]...)
	return k.want(c, unix.EPOLLIN|unix.EPOLLOUT)
}

// sender is the connection whose messages c receives.
func (k *client) sender(c *conn) *conn {
	if k.publisher != nil {
		return k.publisher
	}
	return c
}
