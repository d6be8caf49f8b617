package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSoak keeps a server busy with good clients and random faults, and looks at whether anything grows. It takes as long
// as WEIR_SOAK says, a duration; two seconds without it. WEIR_SOAK_SEED repeats the choice of faults, though not their
// timing. T-113.
func TestSoak(t *testing.T) {
	needBinary(t)
	length, seed := 2*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("WEIR_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("WEIR_SOAK_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	config := echoSite(t, anyPort, "websocket: {max_message_size: 256KiB, close_timeout: 1s, message_timeout: 2s}\n")
	s := started(t, config)
	random := rand.New(rand.NewPCG(seed, 113))
	faults := soakFaults(t, s, config)

	good := gather(t, s.address(), 100)
	good.talk(20 * time.Millisecond)
	stop := make(chan struct{})
	var running sync.WaitGroup
	counts := map[string]int{}
	var history []sighting
	begun := time.Now()
	look := time.NewTicker(max(length/400, 20*time.Millisecond))
	defer look.Stop()
	var wrong error
	for time.Since(begun) < length && wrong == nil {
		if !s.alive() {
			t.Fatalf("seed %d: the server is gone after %v: %v\n%s", seed, time.Since(begun), s.failed, s.said())
		}
		f := faults[random.IntN(len(faults))]
		counts[f.name]++
		running.Go(func() { f.play(stop) }) // ends by itself or with stop
		<-look.C
		history = append(history, sighting{time.Since(begun), s.usage(t), s.metric(t, "go_goroutines")})
		good.mu.Lock()
		wrong = good.wrong
		good.mu.Unlock()
	}
	close(stop)
	running.Wait()
	if wrong != nil {
		t.Errorf("seed %d: a good client: %v", seed, wrong)
	}
	s.signal(t, syscall.SIGTERM)
	good.done.Wait()
	if code := s.ended(t, time.Minute); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.said())
	}
	settled := history[len(history)/4:] // what a server needs once is not growth
	t.Logf("seed %d, %v, %d echoes, faults %v", seed, length, good.echoes.Load(), counts)
	t.Logf("slopes an hour, of the last three quarters: %.1f MiB resident, %.1f goroutines, %.1f descriptors; at the end %v, %.0f goroutines",
		slope(settled, func(s sighting) float64 { return float64(s.usage.residentKiB) / 1024 }),
		slope(settled, func(s sighting) float64 { return s.goroutines }),
		slope(settled, func(s sighting) float64 { return float64(s.usage.descriptors) }),
		history[len(history)-1].usage, history[len(history)-1].goroutines)
}

// sighting is what a server takes at one moment.
type sighting struct {
	at         time.Duration
	usage      usage
	goroutines float64
}

// slope is that of the straight line through f of all sightings with the least squares, an hour.
func slope(all []sighting, f func(sighting) float64) float64 {
	var x, y, xx, xy float64
	for _, s := range all {
		h, v := s.at.Hours(), f(s)
		x, y, xx, xy = x+h, y+v, xx+h*h, xy+h*v
	}
	n := float64(len(all))
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

type soakFault struct {
	name string
	play func(stop <-chan struct{})
}

func soakFaults(t *testing.T, s *server, config string) []soakFault {
	t.Helper()
	module := filepath.Join(filepath.Dir(config), "echo.wasm")
	var versions [][]byte
	for _, name := range []string{canaryPath, "../examples/echo-wat/echo.wasm"} {
		wasm, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, wasm, wasm[:len(wasm)/2]) // every other one is broken
	}
	var reloading sync.Mutex
	next := 0
	faults := []soakFault{
		{"reload", func(<-chan struct{}) {
			reloading.Lock()
			defer reloading.Unlock()
			next++
			_ = os.WriteFile(module, versions[next%len(versions)], 0o600)
		}},
		{"hang-up", func(<-chan struct{}) { _ = s.cmd.Process.Signal(syscall.SIGHUP) }},
		{"unfinished message", func(stop <-chan struct{}) { _ = unfinished(s.address(), 200<<10, stop) }},
		{"broken frame", func(stop <-chan struct{}) {
			if c, err := dial(s.address(), "/x"); err == nil {
				defer c.drop()
				_, _ = c.conn.Write([]byte{0xFF, 0xFF, 0, 1, 2, 3})
				_ = c.linger(stop)
			}
		}},
		{"good call", func(<-chan struct{}) { _ = echoes(s.address()) }},
	}
	for way, name := range []string{"silent call", "half a request", "gone before the answer", "reset", "refused request"} {
		faults = append(faults, soakFault{name, func(<-chan struct{}) { _ = call(s.address(), way) }})
	}
	return faults
}
