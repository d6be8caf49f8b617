package host

import (
	"sync"
	"sync/atomic"
)

// hub is the table of connections: id → Conn without a lock, in chunks that
// never move. A slot is used again under a new generation, so an old id finds
// nothing.
type hub struct {
	chunks atomic.Pointer[[]*hubChunk] // replaced, never changed, when it grows

	mu   sync.Mutex // below
	free []uint32   // slots to use again, latest first
	next uint32     // first slot never used
}

const (
	hubChunkBits = 10
	hubChunkSize = 1 << hubChunkBits
)

type hubChunk [hubChunkSize]hubSlot

type hubSlot struct {
	conn atomic.Pointer[Conn]
	uses uint32 // hub.mu
}

// add gives c its id and enters it.
func (h *hub) add(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var index uint32
	if n := len(h.free); n > 0 {
		index, h.free = h.free[n-1], h.free[:n-1]
	} else {
		index = h.next
		h.next++
		if chunks := h.list(); int(index>>hubChunkBits) == len(chunks) {
			grown := append(chunks[:len(chunks):len(chunks)], new(hubChunk))
			h.chunks.Store(&grown)
		}
	}
	s := &h.list()[index>>hubChunkBits][index&(hubChunkSize-1)]
	s.uses++
	c.id = connID(s.uses)<<32 | connID(index)
	s.conn.Store(c)
}

// remove frees c's slot; its id finds nothing any more.
func (h *hub) remove(c *Conn) {
	index := uint32(c.id)
	h.list()[index>>hubChunkBits][index&(hubChunkSize-1)].conn.Store(nil)
	h.mu.Lock()
	h.free = append(h.free, index)
	h.mu.Unlock()
}

// find returns the open connection of tn that id names, or nil.
func (h *hub) find(id uint64, tn *tenant) *Conn {
	c := h.at(id)
	if c == nil || c.owner.Load() != tn {
		return nil
	}
	return c
}

// at returns the connection that id names, open or not, or nil.
func (h *hub) at(id uint64) *Conn {
	index := uint32(id)
	chunks := h.list()
	if int(index>>hubChunkBits) >= len(chunks) {
		return nil
	}
	c := chunks[index>>hubChunkBits][index&(hubChunkSize-1)].conn.Load()
	if c == nil || uint64(c.id) != id {
		return nil
	}
	return c
}

// each calls f for every connection that is in the table at that moment.
func (h *hub) each(f func(*Conn)) {
	for _, chunk := range h.list() {
		for i := range chunk {
			if c := chunk[i].conn.Load(); c != nil {
				f(c)
			}
		}
	}
}

func (h *hub) list() []*hubChunk {
	if p := h.chunks.Load(); p != nil {
		return *p
	}
	return nil
}
