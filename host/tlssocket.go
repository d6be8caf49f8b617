package host

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/netpoll"
)

const (
	// tlsChunkBytes is what is encrypted at a time: one record of full size (RFC
	// 8446 §5.1). No more than one is encrypted before the one before is out.
	tlsChunkBytes = 16 << 10
	// maxTLSBacklog bounds the records that wait for a full socket. Beside one chunk
	// there are only answers to the peer's requests for new keys, and a peer that
	// makes many while it reads nothing is cut.
	maxTLSBacklog = 32 << 10
)

// States of a tlsSocket.
const (
	tlsShaking  uint32 = iota // the handshake is not over
	tlsOpen                   // both sides are encrypted
	tlsVoid                   // no handshake: what comes is thrown away, what is sent too
	tlsDetached               // Go's own poller has the socket
)

// errNoTLS ends a connection whose handshake has come to nothing. Reads tell it
// once; from then on they return what comes, to be thrown away.
var errNoTLS = errors.New("host: no TLS handshake")

var (
	errTLSBacklog = errors.New("host: the peer asks for new keys and does not read")
	errTLSBudget  = errors.New("host: the server is short of memory for records")
)

// tlsSocket is a Socket with TLS over another one, whose contract it keeps: it
// never blocks, tells of readiness by edges, and what it does not take is the
// caller's still.
//
// The handshake has a goroutine of its own from the client's first byte on, since
// crypto/tls cannot stop in the middle of one; max_handshakes bounds them and
// handshake_timeout ends them. After it the connection's lane reads and writes as
// it does a plain socket: a tls.Conn keeps the part of a record that has come
// when its own connection answers a read with a temporary error. An answer to a
// write that is an error it never forgets, so no write is refused: what the
// socket does not take waits in backlog, and Write says that its last byte was
// not taken, which brings the caller back.
type tlsSocket struct {
	raw   Socket
	srv   *Server
	h     Handler   // whom raw's readiness is told to; fixed by Start
	conn  *tls.Conn // over tlsWire
	state atomic.Uint32

	// Below: the reader.

	dry   bool // raw had less than was asked for: it is not asked again in this Read
	empty bool // raw had nothing at all, not even its end
	told  bool // errNoTLS was
	kept  int  // bytes of an incomplete record that are counted in Server.inbound
	lent  *[tlsReadBytes]byte

	owed bool // the writer: the first byte of the next Write went out with the last

	waits atomic.Bool // backlog is not empty

	mu       sync.Mutex // below; and around every call of raw but the reader's own once the state is open. Nothing blocks under it
	backlog  []byte     // records that raw did not take; counted in Server.outbound
	shut     bool       // FIN follows the backlog
	closed   bool
	shaking  *tlsHandshake // nil when the handshake is over
	detached net.Conn      // instead of raw
}

func newTLSSocket(s *Server, raw Socket, config *tls.Config) *tlsSocket {
	ts := &tlsSocket{raw: raw, srv: s, shaking: &tlsHandshake{wake: make(chan struct{}, 1)}}
	ts.conn = tls.Server(tlsWire{ts}, config)
	return ts
}

// Start implements Socket.
func (s *tlsSocket) Start(h netpoll.Handler) error {
	s.h = h
	return s.raw.Start(s)
}

// Ready is the poller's call.
func (s *tlsSocket) Ready(ev netpoll.Event) {
	if s.state.Load() == tlsShaking && s.wakeHandshake() {
		return
	}
	if ev&netpoll.Writable != 0 && s.waits.Load() && s.state.Load() == tlsOpen {
		s.mu.Lock()
		_ = s.flushLocked() // an error comes again, at the next write
		s.awaitRoomLocked()
		s.mu.Unlock()
	}
	s.h.Ready(ev)
}

// wakeHandshake tells the handshake's goroutine to look at the socket, and starts
// it at first; false when there is none any more.
func (s *tlsSocket) wakeHandshake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	hs := s.shaking
	if hs == nil || s.closed {
		return s.closed
	}
	if !hs.begun {
		hs.begun = true
		hs.ctx, hs.stop = context.WithCancel(context.Background())
		s.srv.wg.Go(func() { s.shake(hs) }) // ends with the handshake, giveUp or Close
		return true
	}
	hs.nudge()
	return true
}

func (hs *tlsHandshake) nudge() {
	select {
	case hs.wake <- struct{}{}:
	default:
	}
}

// shake is the handshake's goroutine.
func (s *tlsSocket) shake(hs *tlsHandshake) {
	err := s.conn.HandshakeContext(hs.ctx)
	hs.stop()
	s.mu.Lock()
	over := s.shaking == nil || s.closed
	s.shaking = nil
	switch {
	case over:
	case err != nil:
		s.void(err)
	default:
		s.srv.tls.done.Add(1)
		if s.conn.ConnectionState().DidResume {
			s.srv.tls.resumed.Add(1)
		}
		dropHandshakeBuffer(s.conn)
		s.awaitRoomLocked() // TLS 1.2: the server has the last word
		s.state.Store(tlsOpen)
	}
	s.mu.Unlock()
	if !over {
		s.h.Ready(netpoll.Readable) // what came behind the handshake has had its edge
	}
}

// void makes a socket without TLS of one whose handshake has failed. The caller
// holds mu.
func (s *tlsSocket) void(err error) {
	why := refusalOf(err)
	s.srv.tls.refused[why].Add(1)
	s.srv.rejected[rejectedTLS].Add(1)
	if s.srv.strangers.pass(s.srv.clock.Mono()) {
		s.srv.log.Info("TLS handshake failed", "reason", why.String(), "remote", s.raw.RemoteAddr().Addr(), "err", err)
	}
	if why == tlsNotTLS && saysHTTP(err) {
		_, _ = s.raw.Write(answerPlain.append(nil, nil)) // fits, or the peer is gone
	}
	s.state.Store(tlsVoid)
}

// answerPlain is for who speaks HTTP where TLS is spoken.
var answerPlain = response{status: 400, text: "TLS is spoken here; connect with wss:// or https://."}

// saysHTTP reports whether the first bytes of what was no TLS begin a request.
func saysHTTP(err error) bool {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) {
		return false
	}
	switch string(record.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// giveUp ends a handshake that nobody waits for any more: the server has answered
// the connection, which without keys goes nowhere. From then on its goroutine does
// not touch raw.
func (s *tlsSocket) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	hs := s.shaking
	if hs == nil {
		return // it was over just now
	}
	s.shaking = nil
	s.told = true // the caller knows
	s.srv.tls.refused[tlsUnfinished].Add(1)
	s.state.Store(tlsVoid)
	hs.end()
}

// end makes the goroutine, if there is one, end.
func (hs *tlsHandshake) end() {
	if hs.begun {
		hs.stop()
		hs.nudge()
	}
}

// Read implements Socket. It returns bytes together with the error behind them.
func (s *tlsSocket) Read(p []byte) (int, error) {
	switch s.state.Load() {
	case tlsOpen:
		return s.readOpen(p)
	case tlsShaking:
		return 0, netpoll.ErrWouldBlock
	case tlsVoid:
		if !s.told {
			s.told = true
			return 0, errNoTLS
		}
		s.mu.Lock() // the handshake's goroutine may be inside a call yet
		defer s.mu.Unlock()
		return s.raw.Read(p)
	}
	return 0, netpoll.ErrClosed
}

// readOpen decrypts until p is full or raw is dry, so that less than len(p) means
// what it means of a plain socket, however many records one event brings.
func (s *tlsSocket) readOpen(p []byte) (n int, err error) {
	s.dry, s.empty = false, false
	s.lendBuffer()
	for n < len(p) {
		var m int
		m, err = s.conn.Read(p[n:])
		n += m
		if n == 0 && !s.empty && errors.Is(err, errTLSDry) {
			// Half a record has come, and perhaps the end of the stream behind it, in one
			// event. ErrWouldBlock must be true of the end too.
			s.dry = false
			continue
		}
		if err != nil || s.dry && isDrained(s.conn) {
			break
		}
	}
	s.keep(s.returnBuffer())
	switch {
	case errors.Is(err, errTLSDry):
		err = nil
		if n == 0 && len(p) > 0 {
			err = netpoll.ErrWouldBlock
		}
		if s.kept > 0 && s.srv.inbound.Load() > int64(s.srv.opts().Server.InboundBudget) {
			err = errTLSBudget
		}
	case err != nil && !isEnd(err) && !errors.Is(err, io.EOF):
		s.srv.log.Debug("TLS connection lost", "remote", s.RemoteAddr().Addr(), "err", err)
	}
	return n, err
}

// keep counts the bytes of an incomplete record.
func (s *tlsSocket) keep(n int) {
	if n != s.kept {
		s.srv.inbound.Add(int64(n - s.kept))
		s.kept = n
	}
}

// Write implements Socket. Its last byte counts as taken when all of the record is
// out: until then less was taken than was offered, as by a plain socket that is
// full, and the caller comes back with that byte first.
func (s *tlsSocket) Write(p []byte) (n int, err error) {
	switch s.state.Load() {
	case tlsShaking:
		s.giveUp()
		if s.state.Load() == tlsVoid {
			return len(p), nil
		}
	case tlsVoid:
		return len(p), nil // there is nobody who could read it
	case tlsDetached:
		return 0, netpoll.ErrClosed
	}
	if s.waits.Load() {
		s.mu.Lock()
		err := s.flushLocked()
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if s.waits.Load() {
			return 0, netpoll.ErrWouldBlock
		}
	}
	if s.owed && len(p) > 0 {
		s.owed = false
		n = 1
	}
	for n < len(p) {
		m, err := s.conn.Write(p[n:min(len(p), n+tlsChunkBytes)])
		n += m
		if err != nil {
			return n, err
		}
		if s.waits.Load() {
			s.owed = true
			if n--; n == 0 {
				return 0, netpoll.ErrWouldBlock
			}
			break
		}
	}
	return n, nil
}

// flushLocked offers raw what waits for it. The error is that of a broken
// connection.
func (s *tlsSocket) flushLocked() error {
	if len(s.backlog) == 0 || s.closed || s.detached != nil {
		return nil
	}
	n, err := s.raw.Write(s.backlog)
	if err != nil && !errors.Is(err, netpoll.ErrWouldBlock) {
		return err
	}
	s.srv.outbound.Add(-int64(n))
	if n < len(s.backlog) {
		s.backlog = s.backlog[:copy(s.backlog, s.backlog[n:])]
		return nil
	}
	s.backlog = nil
	s.waits.Store(false)
	if s.shut {
		return s.raw.CloseWrite()
	}
	return nil
}

// awaitRoomLocked has Ready go on with what waits, where no writer may come back
// for it: at the end of the handshake, and behind the last Write. An error here
// means that the socket is gone, which reading tells too.
func (s *tlsSocket) awaitRoomLocked() {
	if len(s.backlog) > 0 && !s.closed {
		_ = s.raw.WantWrite(true)
	}
}

// WantWrite implements Socket.
func (s *tlsSocket) WantWrite(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.WantWrite(on)
}

// CloseWrite implements Socket: an alert (close_notify) and a FIN behind it.
func (s *tlsSocket) CloseWrite() error {
	if s.state.Load() == tlsShaking {
		s.giveUp()
	}
	if s.state.Load() == tlsOpen {
		_ = s.conn.CloseWrite() // an error means that the peer is gone, or was told already
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.backlog) > 0 && !s.closed {
		s.shut = true
		s.awaitRoomLocked()
		return nil
	}
	return s.raw.CloseWrite()
}

// Close implements Socket.
func (s *tlsSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	_ = s.flushLocked() // what still fits
	s.closed = true
	s.srv.outbound.Add(-int64(len(s.backlog)))
	s.backlog = nil
	s.waits.Store(false)
	s.keep(0)
	if s.shaking != nil {
		s.srv.tls.refused[tlsUnfinished].Add(1)
		s.shaking.end()
	}
	if s.detached != nil {
		return nil // its own owner closes it
	}
	return s.raw.Close()
}

// Detach implements Socket: the connection goes on as a *tls.Conn.
func (s *tlsSocket) Detach() (net.Conn, error) {
	if s.state.Load() != tlsOpen {
		return nil, errors.Join(netpoll.ErrClosed, s.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, netpoll.ErrClosed
	}
	_ = s.flushLocked() // or the first write does
	conn, err := s.raw.Detach()
	s.closed = true
	s.keep(0)
	s.srv.outbound.Add(-int64(len(s.backlog)))
	if err != nil {
		s.backlog = nil
		return nil, err
	}
	s.detached = conn
	s.state.Store(tlsDetached)
	return s.conn, nil
}

// RemoteAddr implements Socket.
func (s *tlsSocket) RemoteAddr() netip.AddrPort { return s.raw.RemoteAddr() }

// tlsWire is the connection that a tlsSocket's tls.Conn stands on.
type tlsWire struct{ s *tlsSocket }

// errTLSDry is what a tls.Conn is told when nothing has come: a temporary error,
// so that it may be asked again.
var errTLSDry net.Error = tlsDry{}

type tlsDry struct{}

func (tlsDry) Error() string   { return "host: no whole record has come" }
func (tlsDry) Timeout() bool   { return true }
func (tlsDry) Temporary() bool { return true }

// Read implements net.Conn. Only the handshake waits.
func (w tlsWire) Read(p []byte) (int, error) {
	s := w.s
	switch s.state.Load() {
	case tlsOpen:
		if s.dry {
			return 0, errTLSDry
		}
		n, err := s.raw.Read(p)
		if errors.Is(err, netpoll.ErrWouldBlock) {
			s.dry, s.empty = true, true
			return 0, errTLSDry
		}
		s.dry = err == nil && n < len(p)
		return n, err
	case tlsDetached:
		return s.detached.Read(p)
	}
	for {
		s.mu.Lock()
		hs := s.shaking
		if hs == nil || s.closed {
			s.mu.Unlock()
			return 0, net.ErrClosed
		}
		_ = s.flushLocked() // an error comes again, from reading
		s.awaitRoomLocked()
		n, err := s.raw.Read(p)
		s.mu.Unlock()
		if !errors.Is(err, netpoll.ErrWouldBlock) {
			return n, err
		}
		<-hs.wake // by Ready, giveUp or Close
	}
}

// Write implements net.Conn. It takes all of p and never waits, but for a
// connection that was detached. tls.Conn calls it from one goroutine at a time.
func (w tlsWire) Write(p []byte) (int, error) {
	s := w.s
	if s.state.Load() == tlsDetached {
		if len(s.backlog) > 0 {
			if _, err := s.detached.Write(s.backlog); err != nil {
				return 0, err
			}
			s.backlog = nil
		}
		return s.detached.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.state.Load() == tlsVoid {
		return 0, net.ErrClosed
	}
	n := 0
	if len(s.backlog) == 0 {
		var err error
		if n, err = s.raw.Write(p); err != nil && !errors.Is(err, netpoll.ErrWouldBlock) {
			return 0, err
		}
	}
	rest := p[n:]
	if len(rest) == 0 {
		return len(p), nil
	}
	if len(s.backlog)+len(rest) > maxTLSBacklog {
		return 0, errTLSBacklog
	}
	s.backlog = append(s.backlog, rest...)
	s.srv.outbound.Add(int64(len(rest)))
	s.waits.Store(true)
	return len(p), nil
}

// Close implements net.Conn: the tls.Conn's owner is net/http, or a handshake that
// was given up, whose socket is closed by its own owner.
func (w tlsWire) Close() error {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.Close()
	}
	return nil
}

// LocalAddr implements net.Conn.
func (w tlsWire) LocalAddr() net.Addr {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.LocalAddr()
	}
	return &net.TCPAddr{}
}

// RemoteAddr implements net.Conn.
func (w tlsWire) RemoteAddr() net.Addr {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(w.s.RemoteAddr())
}

// SetDeadline implements net.Conn. The server's own deadlines need none.
func (w tlsWire) SetDeadline(t time.Time) error {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (w tlsWire) SetReadDeadline(t time.Time) error {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (w tlsWire) SetWriteDeadline(t time.Time) error {
	if w.s.state.Load() == tlsDetached {
		return w.s.detached.SetWriteDeadline(t)
	}
	return nil
}

// isEnd reports that a connection ended, in order or not.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
