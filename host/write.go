package host

import (
	"errors"
	"sync"

	"weir/netpoll"
	"weir/pool"
)

// outQueue holds the frames that wait for one socket, oldest first. Most
// connections have none: it is borrowed while something waits. Conn.mu guards it.
type outQueue struct {
	frames    []*pool.Buf // frames[0] may be partly written
	sentBytes int         // of frames[0]
	begun     bool        // frames[0] is the rest of a write: its first bytes are out
	flying    int         // frames that the Write which is under way has been given
	packed    int         // leading frames that are compressed already, of a connection with context takeover: later ones refer to them, so of these only all may be dropped
	bytes     int         // unwritten bytes of all frames
	accounted int         // of these, how many the server's outbound budget counts
	armed     bool        // write interest is on
	stalledAt int64       // Mono ns since which frames[0] has waited for a full socket; 0 never

	// Only while something of a topic with a rule waits (gaps.go):
	tagged bool
	tags   []tag // what each frame is
	firm   int   // frames that may not be dropped
}

var outQueues = sync.Pool{New: func() any { return &outQueue{frames: make([]*pool.Buf, 0, 4)} }}

// queued is the answer to an attempt to queue a frame.
type queued uint8

const (
	queuedQuiet   queued = iota // somebody else will write it
	queuedMine                  // nothing waits and nobody writes: the caller has become the writer, and must send it
	queuedClosed                // refused: the connection is closing
	queuedFull                  // refused: the peer reads too slowly
	queuedDropped               // taken and thrown away: the peer is told of the gap
)

// enqueue offers frame to c: it goes to the end of the queue, which takes a
// reference of its own, or, when there is nothing before it, to the caller to
// send. Any goroutine; no system call.
func (c *Conn) enqueue(frame *pool.Buf) queued {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealed || c.dead {
		return queuedClosed
	}
	q := c.out
	if q == nil && !c.writing {
		c.writing = true
		return queuedMine
	}
	limits := &c.srv.opts().WebSocket
	full := q != nil && (q.bytes+len(frame.B) > int(limits.OutboundQueueSize) || len(q.frames) >= limits.OutboundQueueMessages) ||
		c.blocked && c.srv.outbound.Load() >= int64(c.srv.opts().Server.OutboundBudget)
	if full && (q == nil || !q.tagged || !c.makeRoomLocked(len(frame.B))) {
		return queuedFull
	}
	frame.Retain()
	c.appendLocked(frame)
	return queuedQuiet
}

// send writes frame for a caller whom enqueue has made the writer, then what
// others have queued meanwhile. What the socket does not take goes to the head
// of the queue, still shared. of is what the frame is.
func (c *Conn) send(frame *pool.Buf, of tag) {
	if c.agreed.out.keeps() {
		frame.Retain()
		frame = c.pack(frame)
		defer frame.Release()
	}
	n, err := c.sock.Write(frame.B)
	c.mu.Lock()
	if failed(err) {
		c.breakLocked()
	} else if n < len(frame.B) && !c.dead {
		frame.Retain()
		c.prependLocked(frame, n, false, of)
	}
	c.drainLocked()
}

// failed reports that a write met a broken connection.
func failed(err error) bool { return err != nil && !errors.Is(err, netpoll.ErrWouldBlock) }

// breakLocked gives up on a socket that does not take bytes any more.
func (c *Conn) breakLocked() {
	c.dropQueueLocked()
	c.sealed = true
	c.broken = true
}

// appendLocked queues frame, whose reference becomes the queue's.
func (c *Conn) appendLocked(frame *pool.Buf) { c.appendTaggedLocked(frame, tag{}) }

// appendTaggedLocked is appendLocked for a frame that may be more than bytes.
func (c *Conn) appendTaggedLocked(frame *pool.Buf, of tag) {
	if c.out == nil {
		c.out = outQueues.Get().(*outQueue)
	}
	q := c.out
	q.frames = append(q.frames, frame)
	q.bytes += len(frame.B)
	if q.tagged || of.rule != nil {
		c.noteLocked(of)
	}
	if c.blocked {
		c.srv.outbound.Add(int64(len(frame.B)))
		q.accounted += len(frame.B)
	}
}

// prependLocked puts what a write did not take before everything queued: frame
// without its first sentBytes; its reference becomes the queue's. begun says that
// frame.B itself begins within a frame.
func (c *Conn) prependLocked(frame *pool.Buf, sentBytes int, begun bool, of tag) {
	c.appendTaggedLocked(frame, of)
	q := c.out
	copy(q.frames[1:], q.frames)
	q.frames[0] = frame
	if q.tagged {
		copy(q.tags[1:], q.tags)
		q.tags[0] = of
	}
	q.sentBytes = sentBytes // nothing of the frame that was first has gone yet
	q.bytes -= sentBytes
	q.begun = begun
	q.packed++
}

// flush writes what is queued unless somebody else is at it or the socket is
// full. Any goroutine.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.writing || c.blocked || c.out == nil {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.drainLocked()
}

// drainLocked writes until the queue is empty or the socket full, gives up the
// right to write, and unlocks. The caller holds mu and has set writing.
func (c *Conn) drainLocked() {
	for c.out != nil && !c.dead {
		if c.agreed.out.keeps() && !c.packLocked() {
			break
		}
		p, scratch := c.out.gather(c.agreed.out.keeps())
		c.mu.Unlock()
		n, err := c.sock.Write(p)
		if scratch != nil {
			scratch.Release()
		}
		full := err == nil && n < len(p) || errors.Is(err, netpoll.ErrWouldBlock)
		if full {
			err = c.sock.WantWrite(true)
		}
		c.mu.Lock()
		if c.out == nil || c.dead {
			break
		}
		c.out.took(n, c.srv.clock)
		if err != nil {
			c.breakLocked()
			break
		}
		if !full {
			c.settleLocked()
			continue
		}
		c.out.armed = true
		if c.retry { // it became writable again while we were at it
			c.retry = false
			continue
		}
		c.stallLocked()
		break
	}
	if c.dead {
		c.dropQueueLocked()
	}
	var post uint32
	if c.out == nil && c.sealed {
		post |= inFlushed
	}
	if c.broken {
		post |= inReset
	}
	c.retry = false
	c.writing = false
	dead := c.dead
	c.mu.Unlock()
	if dead {
		c.sock.Close()
	} else if post != 0 {
		c.wakeUp(post)
	}
}

// settleLocked gives an empty queue back.
func (c *Conn) settleLocked() {
	q := c.out
	if len(q.frames) > 0 {
		return
	}
	if q.armed {
		// Nothing waits any more; the interest would only add a flag to other
		// events. An error here means the socket is gone, which reading tells too.
		c.mu.Unlock()
		_ = c.sock.WantWrite(false)
		c.mu.Lock()
		if c.out != q {
			return
		}
		q.armed = false
		if len(q.frames) > 0 {
			return // somebody appended meanwhile
		}
	}
	c.dropQueueLocked()
}

// dropQueueLocked releases every frame and the queue itself.
func (c *Conn) dropQueueLocked() {
	q := c.out
	if q == nil {
		return
	}
	c.out = nil
	for i, f := range q.frames {
		f.Release()
		q.frames[i] = nil
	}
	if q.accounted != 0 {
		c.srv.outbound.Add(-int64(q.accounted))
	}
	clear(q.tags)
	*q = outQueue{frames: q.frames[:0], tags: q.tags[:0]}
	if cap(q.frames) <= 64 {
		outQueues.Put(q)
	}
}

// stallLocked notes that the socket is full: whoever waits is counted and timed.
func (c *Conn) stallLocked() {
	q := c.out
	c.blocked = true
	c.srv.outbound.Add(int64(q.bytes - q.accounted))
	q.accounted = q.bytes
	if q.stalledAt == 0 {
		q.stalledAt = c.srv.clock.Mono()
	}
	c.srv.wheel.scheduleBefore(&c.node, q.stalledAt+int64(c.srv.opts().WebSocket.WriteTimeout))
}

// writable takes note of room in the socket and goes on writing.
func (c *Conn) writable() {
	c.mu.Lock()
	if c.writing {
		c.retry = true
		c.mu.Unlock()
		return
	}
	if !c.blocked || c.out == nil {
		c.mu.Unlock()
		return
	}
	c.blocked = false
	c.writing = true
	c.drainLocked()
}

// gatherBytes is how much of several frames is copied together into one write.
const gatherBytes = 32 << 10

// gather returns the bytes to write next: the first frame's rest, or, when more
// small ones wait, as many as fit one buffer, which the caller releases. With
// packedOnly it leaves those alone that are not compressed yet.
func (q *outQueue) gather(packedOnly bool) (p []byte, scratch *pool.Buf) {
	first := q.frames[0].B[q.sentBytes:]
	q.flying = 1
	ready := q.frames
	if packedOnly {
		ready = ready[:q.packed]
	}
	if len(ready) == 1 || len(first)+len(ready[1].B) > gatherBytes {
		return first, nil
	}
	scratch = pool.Take(min(q.bytes, gatherBytes))
	n := copy(scratch.B, first)
	for _, f := range ready[1:] {
		if n+len(f.B) > len(scratch.B) {
			break
		}
		n += copy(scratch.B[n:], f.B)
		q.flying++
	}
	return scratch.B[:n], scratch
}

// took removes n written bytes.
func (q *outQueue) took(n int, clock Clock) {
	q.bytes -= n
	q.flying = 0
	done := 0
	for n > 0 {
		f := q.frames[done]
		rest := len(f.B) - q.sentBytes
		if n < rest {
			q.sentBytes += n
			break
		}
		n -= rest
		q.sentBytes = 0
		f.Release()
		q.frames[done] = nil
		done++
	}
	if done == 0 {
		return
	}
	q.begun = false
	q.packed = max(q.packed-done, 0)
	kept := copy(q.frames, q.frames[done:])
	clear(q.frames[kept:])
	q.frames = q.frames[:kept]
	if q.tagged {
		q.forgetTags(done)
	}
	if q.stalledAt != 0 { // a whole frame left: the next one's time begins
		q.stalledAt = clock.Mono()
	}
}

// sealLocked queues the Close frame, after which nothing may follow. With
// dropRest, frames that no byte of was written, or may just be, give way to it:
// a reader who is too slow for them would never see it otherwise.
func (c *Conn) sealLocked(frame *pool.Buf, dropRest bool) {
	if q := c.out; q != nil && dropRest {
		keep := q.untouched()
		for i, f := range q.frames[keep:] {
			q.bytes -= len(f.B)
			f.Release()
			q.frames[keep+i] = nil
		}
		q.frames = q.frames[:keep]
		q.packed = min(q.packed, keep)
		if q.tagged {
			clear(q.tags[keep:])
			q.tags = q.tags[:keep]
		}
		if freed := q.accounted - q.bytes; freed > 0 {
			c.srv.outbound.Add(-int64(freed))
			q.accounted = q.bytes
		}
	}
	c.appendLocked(frame)
	c.sealed = true
}
