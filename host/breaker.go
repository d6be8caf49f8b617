package host

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// BreakerOptions say what the server does with a module whose handlers trap
// again and again. The zero value of a field means its default.
type BreakerOptions struct {
	// Traps is how many traps within Window open the breaker. Timeouts and other
	// limits count as traps, refused events (a handler that returns non-zero) do
	// not. -1 never opens it; 0 means 5.
	Traps int `koanf:"traps"`
	// Window is the time within which Traps count. 0 means 10s.
	Window time.Duration `koanf:"window"`
	// BackOff is how long the breaker stays open before one event may try again;
	// it doubles with each try that traps. 0 means 1s.
	BackOff time.Duration `koanf:"back_off"`
	// MaxBackOff bounds BackOff's doubling. 0 means 60s.
	MaxBackOff time.Duration `koanf:"max_back_off"`
	// Fail says what happens while the breaker is open. "closed" closes
	// connections that need the handler with 1013 and answers upgrades with 503.
	// "open" leaves the handler out: connections stay, or are accepted, and their
	// events are dropped. "previous" returns to the last generation that worked;
	// without one it is as "closed". Empty means "closed".
	Fail string `koanf:"fail" oneof:"closed,open,previous"`
}

// Values of BreakerOptions.Fail.
const (
	failClosed   = "closed"
	failOpen     = "open"
	failPrevious = "previous"
)

// WithDefaults returns o with every zero field replaced by its default.
func (o BreakerOptions) WithDefaults() BreakerOptions {
	setDefault(&o.Traps, 5)
	setDefault(&o.Window, 10*time.Second)
	setDefault(&o.BackOff, time.Second)
	setDefault(&o.MaxBackOff, time.Minute)
	setDefault(&o.Fail, failClosed)
	return o
}

// Validate reports every mistake in o, each with its key.
func (o BreakerOptions) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if o.Traps < -1 || o.Traps > maxBreakerTraps {
		bad("traps", "%d is outside [-1, %d]", o.Traps, maxBreakerTraps)
	}
	atLeastZero(bad, "window", o.Window)
	atLeastZero(bad, "back_off", o.BackOff)
	atLeastZero(bad, "max_back_off", o.MaxBackOff)
	switch o.Fail {
	case "", failClosed, failOpen, failPrevious:
	default:
		bad("fail", "%q is not one of %q, %q, %q", o.Fail, failClosed, failOpen, failPrevious)
	}
	return errors.Join(errs...)
}

const maxBreakerTraps = 1000

// breaker keeps a module that traps all the time from costing an instance, a
// deadline and a log line for each event. Closed it lets everything pass; too
// many traps open it; after a pause one event at a time may try again, and the
// first that does not trap closes it. Any goroutine.
type breaker struct {
	options BreakerOptions

	tripped atomic.Bool // open, or one is trying: look closer

	mu      sync.Mutex // below
	traps   []int64    // Mono ns of the last traps, oldest first, at most options.Traps
	trying  bool       // somebody has been let through and has not told how it went
	retryAt int64      // Mono ns before which nobody may try
	backOff time.Duration
	opened  uint64 // how often it opened
}

// pass is how an event stands with the breaker.
type pass uint8

const (
	passFree  pass = iota // the breaker is closed
	passTrial             // this event tries; settle must be called
	passNone              // the breaker is open
)

// ask reports whether an event may go to the module. Hot path while closed.
func (b *breaker) ask(nowMono int64) pass {
	if !b.tripped.Load() {
		return passFree
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.tripped.Load():
		return passFree
	case b.trying || nowMono < b.retryAt:
		return passNone
	default:
		b.trying = true
		return passTrial
	}
}

// settle tells how a trial went; open for longer if it trapped. done is false
// when it came to nothing: then another may try.
func (b *breaker) settle(done, trapped bool, nowMono int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	switch {
	case !done:
	case trapped:
		b.backOff = min(2*b.backOff, b.options.MaxBackOff)
		b.retryAt = nowMono + int64(b.backOff)
	default:
		b.traps = b.traps[:0]
		b.tripped.Store(false)
	}
}

// trapped counts a trap of an event that was let through freely, and reports
// that it has opened the breaker.
func (b *breaker) trapped(nowMono int64) (opened bool) {
	if b.options.Traps < 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tripped.Load() {
		return false
	}
	if len(b.traps) == b.options.Traps {
		b.traps = append(b.traps[:0], b.traps[1:]...)
	}
	b.traps = append(b.traps, nowMono)
	if len(b.traps) < b.options.Traps || nowMono-b.traps[0] > int64(b.options.Window) {
		return false
	}
	// Soon after the last time it goes on where it was.
	if b.opened == 0 || nowMono-b.retryAt > int64(b.options.MaxBackOff) {
		b.backOff = b.options.BackOff
	} else {
		b.backOff = min(2*b.backOff, b.options.MaxBackOff)
	}
	b.retryAt = nowMono + int64(b.backOff)
	b.opened++
	b.tripped.Store(true)
	return true
}

// state is for the figures: "closed", "open" or "half_open".
func (b *breaker) state() (name string, opened uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.tripped.Load():
		return "closed", b.opened
	case b.trying:
		return "half_open", b.opened
	default:
		return "open", b.opened
	}
}
