package host

import (
	"sync"
	"sync/atomic"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// connID names a connection to guests: its slot in the hub (low 32 bits) and
// how often that slot was used (high 32 bits, never 0). A handler can only reach
// connections of its own module (hub.find), so a guessed id is worth nothing.
type connID uint64

// phase is where a connection stands in its life; it only grows.
type phase uint8

const (
	phaseHandshake phase = iota // its request is not answered yet
	phaseOpen                   // WebSocket messages flow
	phaseClosing                // our Close frame went first; the peer's is awaited
	phaseLingering              // both are done, or the peer failed: FIN sent, input thrown away
	phaseDead                   // nothing is left but the struct
)

// Conn is one client. It is its own lane, its own pool task, its own poller
// handler and its own deadline, so that none of these costs an allocation. What
// only some connections need stands behind pointers: an idle one is 192 bytes.
type Conn struct {
	// What every message touches comes first, two cache lines of it.

	srv  *Server
	sock Socket
	id   connID

	// inbox is the lane: bit owned and what was posted (lane.go).
	inbox atomic.Uint32

	// Below: the lane. Only the goroutine that has it may touch these.

	phase     phase
	told      toldBits  // which life events the handler has had
	pinged    bool      // our ping waits for any frame of the peer
	peerGone  bool      // the socket read EOF or an error
	cut       bool      // the socket failed, or the peer had its time: what is queued is not waited for
	sawHangup bool      // readiness said that the peer hung up: read to the end
	finSent   bool      // our side of the socket is closed
	shaking   bool      // counted among the handshakes
	openedAt  uint32    // seconds since 1970; fixed as route is
	held      *pool.Buf // bytes read but not understood yet
	asm       *assembly // an incomplete message
	lastHeard int64     // Mono ns when the last bytes came
	route     *route    // fixed when the connection opens, before owner is set

	mu sync.Mutex // below: any goroutine

	writing bool      // somebody is in Write, or gathers what it will write
	retry   bool      // the socket became writable while somebody wrote
	blocked bool      // the socket is full; Writable is awaited
	sealed  bool      // the Close frame is queued: nothing may follow it
	broken  bool      // a write failed: the peer is gone
	dead    bool      // torn down; the writer closes the socket if there is one
	agreed  agreement // how messages are compressed; fixed as route is
	counted bool      // among the connections of its address; Server.admitMu guards it
	out     *outQueue
	more    *extras

	// Below: the lane again.

	end      *closeInfo // how it ended; set once phase > phaseOpen
	control  bucket     // pings and pongs of the peer
	deadline int64      // Mono ns by which the phase must be over; 0 none
	attrs    *attrs     // what the handshake said; fixed as route is

	// owner is the module whose handlers may name this connection; nil until
	// open, and what makes route and attrs visible to other lanes.
	owner atomic.Pointer[tenant]

	node wheelNode // the connection's one deadline; the wheel guards it
}

// attrs are what the handshake said of a connection and a handler may ask for.
// They never change; connections that said the same share one.
type attrs struct {
	uri      string   // request target as it came
	protocol string   // subprotocol, "" when none
	keep     []string // names of the header fields that the module wanted kept
	kept     []string // their values
	plain    *attrs   // the same without protocol; nil when there is none
}

// extras is what most connections never need. Conn.mu guards it.
type extras struct {
	asked   closeInfo // a close that a handler or the server wants
	granted *runtime.Instance
	refused bool // instead of granted
	waitsOn *crew
	joined  []*membership
	timers  map[int64]*guestTimer
	due     []*guestTimer
	state   []byte // the handler's attachment
	rates   *rates // what the peer has sent of late; the lane's

	takeover *takeover // fixed as Conn.agreed is, which says whether there is one
}

// extrasLocked is c.more, made when it is missing.
func (c *Conn) extrasLocked() *extras {
	if c.more == nil {
		c.more = new(extras)
	}
	return c.more
}

// toldBits are the life events that are behind a connection.
type toldBits uint8

const (
	toldUpgrade toldBits = 1 << iota
	toldOpen
	toldClose
	toldDrain
)

// closeInfo is how a connection ends.
type closeInfo struct {
	code   uint16 // what the handler hears; 0: nothing decided yet
	clean  bool   // Close frames went both ways
	reason string
	cause  cause // for the counters and the log
}

// Ready is the poller's call: it runs on the shard's goroutine. Queued frames
// are written at once, even while a handler has the lane.
func (c *Conn) Ready(ev netpoll.Event) {
	if ev&netpoll.Writable != 0 {
		c.writable()
	}
	bits := uint32(0)
	if ev&netpoll.Readable != 0 {
		bits |= inRead
	}
	if ev&netpoll.Hangup != 0 {
		bits |= inRead | inHangup
	}
	if bits != 0 && c.post(bits) {
		c.srv.runInline(c)
	}
}

// fire is the wheel's call: the deadline has come.
func (c *Conn) fire(int64) { c.wakeUp(inDeadline) }

// Granted is the instance pool's call: the instance that the lane waits for is
// free, or (nil) a place to make one is.
func (c *Conn) Granted(inst *runtime.Instance) {
	c.mu.Lock()
	c.extrasLocked().granted = inst
	c.mu.Unlock()
	c.unpark()
}

// Refused is the instance pool's call: the lane has waited too long.
func (c *Conn) Refused() {
	c.mu.Lock()
	c.extrasLocked().refused = true
	c.mu.Unlock()
	c.unpark()
}

// Patient tells the instance pool that the lane waits as long as it takes: a
// close must be told, and there is nobody left to send away.
func (c *Conn) Patient() bool { return c.phase >= phaseLingering }
