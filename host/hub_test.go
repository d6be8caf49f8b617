package host

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestHubFindsWhatIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h hub
		mine, other := new(tenant), new(tenant)
		present := make(map[*Conn]bool)
		everUsed := make(map[connID]bool)
		var gone []connID
		pick := func(t *rapid.T) *Conn {
			var all []*Conn
			h.each(func(c *Conn) { all = append(all, c) })
			if len(all) == 0 {
				t.Skip("empty")
			}
			return rapid.SampledFrom(all).Draw(t, "conn")
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := new(Conn)
				h.add(c)
				if c.id>>32 == 0 || everUsed[c.id] {
					t.Fatalf("id %#x is 0 or was used before", uint64(c.id))
				}
				everUsed[c.id], present[c] = true, true
			},
			"open": func(t *rapid.T) { pick(t).owner.Store(mine) },
			"remove": func(t *rapid.T) {
				c := pick(t)
				h.remove(c)
				delete(present, c)
				gone = append(gone, c.id)
			},
			"": func(t *rapid.T) {
				seen := make(map[*Conn]bool)
				h.each(func(c *Conn) {
					if seen[c] || !present[c] {
						t.Fatal("each calls twice, or for one that is gone")
					}
					seen[c] = true
					want := c
					if c.owner.Load() != mine {
						want = nil // not open yet
					}
					if h.find(uint64(c.id), mine) != want {
						t.Fatalf("find %#x: not what is there", uint64(c.id))
					}
					if h.find(uint64(c.id), other) != nil {
						t.Fatal("another module's connection is found")
					}
					if h.find(uint64(c.id)+1<<32, mine) != nil || h.find(uint64(c.id)&0xFFFFFFFF, mine) != nil {
						t.Fatal("a guessed id finds a connection")
					}
				})
				if len(seen) != len(present) {
					t.Fatalf("each lists %d of %d", len(seen), len(present))
				}
				for _, id := range gone {
					if h.find(uint64(id), mine) != nil {
						t.Fatalf("an old id %#x finds a connection", uint64(id))
					}
				}
			},
		})
	})
}

func TestHubGrowsPastItsChunksAndForgetsIDsThatNeverWere(t *testing.T) {
	var h hub
	if h.find(1<<32, nil) != nil {
		t.Error("an empty table finds something")
	}
	tn := new(tenant)
	conns := make([]*Conn, 3*hubChunkSize+1)
	for i := range conns {
		conns[i] = new(Conn)
		conns[i].owner.Store(tn)
		h.add(conns[i])
	}
	for _, c := range conns {
		if h.find(uint64(c.id), tn) != c {
			t.Fatalf("%#x is not found", uint64(c.id))
		}
	}
	for _, id := range []uint64{0, 1, 1<<32 | 0xFFFFFFFF, 1<<64 - 1, 1<<32 | uint64(len(conns))} {
		if h.find(id, tn) != nil {
			t.Errorf("%#x finds a connection", id)
		}
	}
	for _, c := range conns {
		h.remove(c)
	}
	c := new(Conn)
	h.add(c)
	if uint32(c.id) >= uint32(len(conns)) {
		t.Error("the table grows although slots are free")
	}
}

func TestHubIsUsedFromManyGoroutines(t *testing.T) {
	var h hub
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	tenants := [2]*tenant{new(tenant), new(tenant)}
	var shared [64]atomic.Uint64 // ids, some of them old
	for g := range 4 {
		writers.Go(func() {
			var mine []*Conn
			for i := range 3000 {
				if len(mine) < 8 || i%3 == 0 {
					c := new(Conn)
					h.add(c)
					c.owner.Store(tenants[i%2])
					shared[(i+g*16)%len(shared)].Store(uint64(c.id))
					mine = append(mine, c)
				} else {
					h.remove(mine[0])
					mine = mine[1:]
				}
			}
			for _, c := range mine {
				h.remove(c)
			}
		})
	}
	for g := range 2 {
		readers.Go(func() {
			for i := 0; !done.Load(); i++ {
				id := shared[i%len(shared)].Load()
				if c := h.find(id, tenants[g]); c != nil && (uint64(c.id) != id || c.owner.Load() != tenants[g]) {
					t.Error("find returns another connection")
					return
				}
				if i%64 == 0 {
					h.each(func(*Conn) {})
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	h.each(func(*Conn) { t.Error("a connection is left") })
}
