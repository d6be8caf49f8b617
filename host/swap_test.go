package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/pool"
)

// TestChangesOfGenerationsUnderTraffic is the promise: whatever is loaded, made a
// canary, promoted and rolled back, nothing is lost, nothing handled twice, order
// is kept, no connection goes back to an older generation, and what an instance
// has in memory goes with it. Every message adds 1 to a sum that only memory
// holds, so that a sum which is right has seen each exactly once.
func TestChangesOfGenerationsUnderTraffic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for scope, keys := range map[string]int{scopePool: 1, scopeConnection: 1, scopeKey: 3, scopeSingleton: 1} {
		t.Run(scope, func(t *testing.T) {
			w := start(t, withoutPings, scoped(scope), func(s *setup) { s.pool = pool.Options{Workers: 4} })
			const clients, changes = 9, 40
			var stop atomic.Bool
			var said [clients]int
			var wg sync.WaitGroup
			all := make([]*client, clients)
			for i := range clients {
				all[i] = w.dial(fmt.Sprintf("/key%d", i%keys))
				wg.Go(func() { said[i] = talk(t, all[i], &stop, scope) }) // ends when the changes are over
			}
			r := rand.New(rand.NewPCG(seed, 0))
			for range changes {
				w.change(r)
			}
			stop.Store(true)
			wg.Wait()
			if t.Failed() {
				return
			}
			sums := make(map[int]int) // by cell
			for i, n := range said {
				switch scope {
				case scopeConnection:
					sums[i] += n
				default:
					sums[i%keys] += n
				}
			}
			for i, c := range all {
				cell := i % keys
				if scope == scopeConnection {
					cell = i
				}
				if got, want := c.ask("total 0"), fmt.Sprintf("total=%d", sums[cell]); scope != scopePool && got != want {
					t.Errorf("client %d: %s, want %s", i, got, want)
				}
			}
			w.close()
			if text := w.log.String(); strings.Contains(text, "level=ERROR") {
				t.Error(text)
			}
		})
	}
}

// talk sends messages in bursts until it is to stop, and checks the answers.
func talk(t *testing.T, c *client, stop *atomic.Bool, scope string) (said int) {
	generation, last := 0, 0
	for !stop.Load() || said == 0 {
		const burst = 5
		for k := range burst {
			c.say(fmt.Sprintf("gen;total 1;echo %d", said+k))
		}
		for range burst {
			g, total := 0, 0
			if _, err := fmt.Sscanf(c.hear(), "gen=%d", &g); err != nil || g < generation {
				t.Errorf("generation %d after %d, %v", g, generation, err)
				return said
			}
			generation = g
			if _, err := fmt.Sscanf(c.hear(), "total=%d", &total); err != nil || total <= last && scope != scopePool {
				t.Errorf("the sum is %d after %d, %v", total, last, err)
				return said
			}
			last = total
			if got, want := c.hear(), fmt.Sprint(said); got != want {
				t.Errorf("heard %q, want %q", got, want)
				return said
			}
			said++
		}
	}
	return said
}

// change does something to the puppet's generations.
func (w *world) change(r *rand.Rand) {
	m := testSetup().modules[0]
	canaryRuns := w.srv.Generations("puppet")[0].Fate == FateCanary
	switch r.IntN(5) {
	case 0:
		check(w.t, second(w.srv.Reload(context.Background(), m)))
	case 1:
		m.Rollout.Canary = 1 + r.IntN(100)
		check(w.t, second(w.srv.Reload(context.Background(), m)))
	case 2:
		if canaryRuns {
			check(w.t, w.srv.Canary("puppet", 100))
		}
	case 3:
		if canaryRuns {
			check(w.t, w.srv.Promote("puppet"))
		}
	case 4:
		_ = w.srv.Rollback("puppet") // there may be nothing to return to
	}
	w.srv.Stats()
	for range r.IntN(2000) {
		goruntime.Gosched()
	}
}

func second[T any](_ T, err error) error { return err }

// TestReloadsLeaveNothingBehind reloads under traffic and looks at what the
// process has in the end: heap, address space, goroutines, descriptors.
func TestReloadsLeaveNothingBehind(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures memory")
	}
	const warm, reloads = 100, 1000
	w := start(t, withoutPings, scoped(scopeKey), func(s *setup) {
		s.pool = pool.Options{Workers: 4}
		s.modules[0].Instances = 2
	})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 6 {
		c := w.dial(fmt.Sprintf("/key%d", i%3))
		wg.Go(func() { talk(t, c, &stop, scopeKey) }) // ends when the reloads are over
	}
	reload := func(n int) {
		for range n {
			check(t, second(w.srv.Reload(context.Background(), testSetup().modules[0])))
		}
	}
	reload(warm)
	before := measure(t)
	began := time.Now()
	reload(reloads)
	t.Logf("a reload takes %v", time.Since(began)/reloads)
	after := measure(t)
	t.Logf("before: %+v", before)
	t.Logf("after:  %+v", after)
	if after.goroutines > before.goroutines+2 || after.files > before.files+2 {
		t.Errorf("goroutines or descriptors are left: %+v, then %+v", before, after)
	}
	// A thousand generations of this guest are 1,000 × 100 KB of code and memory.
	if grown := after.rss - before.rss; grown > 16<<20 {
		t.Errorf("%d bytes more are resident", grown)
	}
	stop.Store(true)
	wg.Wait()
	w.close()
}

// footprint is what a process has.
type footprint struct {
	rss        int64 // bytes
	heap       uint64
	goroutines int
	files      int
}

func measure(t *testing.T) footprint {
	t.Helper()
	debug.FreeOSMemory()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return footprint{rss: residentBytes(t), heap: m.HeapAlloc, goroutines: goruntime.NumGoroutine(), files: openFiles(t)}
}

// residentBytes is VmRSS.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc")
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestCellsEndUnderChangesOfGenerations has clients come, trap, and go in every
// way, while the code changes and cells end from idleness. Whatever meets, every
// connection ends, and nothing is left of any cell or instance.
func TestCellsEndUnderChangesOfGenerations(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, scope := range []string{scopeConnection, scopeKey, scopeSingleton} {
		t.Run(scope, func(t *testing.T) {
			w := start(t, withoutPings, scoped(scope), func(s *setup) {
				s.pool = pool.Options{Workers: 4}
				s.modules[0].IdleAfter = 10 * time.Millisecond
				s.modules[0].Rollout = RolloutOptions{TrapRate: -1}
			})
			var stop atomic.Bool
			var wg sync.WaitGroup
			for i := range 6 {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() { // ends when the changes are over
					for !stop.Load() {
						w.stay(r)
					}
				})
			}
			r := rand.New(rand.NewPCG(seed, 100))
			for range 40 {
				w.change(r)
			}
			stop.Store(true)
			wg.Wait()
			w.until("every connection has ended", func(st Stats) bool { return st.Open == 0 })
			if scope != scopeSingleton { // which stays
				w.until("every cell has ended", func(st Stats) bool { return st.Modules["puppet"].Cells == 0 })
			}
			tn := w.srv.tenants["puppet"]
			w.close()
			if n := tn.rule.Load().stable.cells.Load(); n != 0 {
				t.Errorf("%d cells are counted after the end", n)
			}
		})
	}
}

// stay is one visit of a client, which the server may end.
func (w *world) stay(r *rand.Rand) {
	conn, _, err := websocket.DefaultDialer.Dial(fmt.Sprintf("ws://%s/key%d", w.addr, r.IntN(3)), nil)
	if err != nil {
		return // its instance fell while it shook hands
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for range r.IntN(8) {
		script := [...]string{"total 1", "total 1", "total 1", "mtimer 1 10 0;total 1", "mcancel 1;total 1", "trap", "fail 1", "badsave t;total 1"}[r.IntN(8)]
		if conn.WriteMessage(websocket.TextMessage, []byte(script)) != nil {
			return
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				w.t.Errorf("%q was never answered", script)
			}
			return
		}
	}
	if r.IntN(2) == 0 {
		_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
		_, _, _ = conn.ReadMessage()
	}
}
