package chaos

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// late is the promise: what another module's message may take while a hostile one does its worst.
	late = 50 * time.Millisecond

	canaries      = 8
	controls      = 4 // canaries of a server without hostile modules
	canaryEvery   = 5 * time.Millisecond
	fewestSamples = 300 // of a case, so that its p99 is not its worst
)

// watch measures how a well-behaved module is served beside hostile ones, and how by a second server, alone in its
// process, which only suffers what the machine does to both.
type watch struct {
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex // below
	echoes  samples    // of the canaries
	control samples    // of the second server's
	lost    error      // the first echo that did not come, or came wrong
}

type samples []time.Duration

// watchOver starts canaries against both servers.
func watchOver(address, control string) (*watch, error) {
	w := &watch{stop: make(chan struct{})}
	for i := range canaries + controls {
		to, into := address, &w.echoes
		if i >= canaries {
			to, into = control, &w.control
		}
		c, err := dial(to, "/canary")
		if err != nil {
			w.end()
			return nil, fmt.Errorf("canary: %w", err)
		}
		w.done.Go(func() {
			defer c.drop()
			if err := w.sing(c, i, into); err != nil {
				w.mu.Lock()
				if w.lost == nil {
					w.lost = err
				}
				w.mu.Unlock()
			}
		})
	}
	return w, nil
}

// end stops the canaries and waits for them.
func (w *watch) end() {
	close(w.stop)
	w.done.Wait()
}

// sing sends a message every few milliseconds, each of which must come back before the next.
func (w *watch) sing(c *client, canary int, into *samples) error {
	ticks := time.NewTicker(canaryEvery)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticks.C:
		case <-w.stop:
			return c.goodbye()
		}
		want := fmt.Sprintf("canary %d, message %d", canary, n)
		sent := time.Now()
		if err := c.send(opText, want); err != nil {
			return fmt.Errorf("%s: send: %w", want, err)
		}
		op, got, err := c.next()
		took := time.Since(sent)
		switch {
		case err != nil:
			return fmt.Errorf("%s: no echo within %v: %w", want, took.Round(time.Millisecond), err)
		case op == opClose:
			return fmt.Errorf("%s: closed with %d", want, closeCode(got))
		case op != opText || got != want:
			return fmt.Errorf("%s: the echo is %q", want, got)
		}
		w.mu.Lock()
		*into = into.with(took, canaryEvery)
		w.mu.Unlock()
	}
}

// with adds a measurement, and those that were not made because this one took so long: who waits 100 ms for an answer
// would otherwise count a stall once that twenty messages would have met.
func (s samples) with(took, every time.Duration) samples {
	for ; len(s) < 1<<20; took -= every {
		s = append(s, took)
		if took <= every {
			break
		}
	}
	return s
}

// quantile returns the smallest value that a share q of the samples does not exceed.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// moment is a point in the measurements.
type moment struct{ echoes, control int }

func (w *watch) now() moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return moment{len(w.echoes), len(w.control)}
}

// since returns what was measured since then.
func (w *watch) since(m moment) (echoes, control samples, lost error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.echoes[m.echoes:]), slices.Clone(w.control[m.control:]), w.lost
}

// enough waits until there are enough measurements since then, or a canary is lost.
func (w *watch) enough(m moment) bool {
	return eventually(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.lost != nil || len(w.echoes)-m.echoes >= fewestSamples
	})
}
