package runtime

import (
	"errors"
	"fmt"
	"time"
)

const (
	// wasmPageBytes is the unit of memory (WebAssembly Core §4.2.8).
	wasmPageBytes = 64 << 10

	defaultMemoryPages    = 512     // 32 MiB
	maxMemoryPages        = 8 << 10 // 512 MiB
	defaultMaxModuleBytes = 8 << 20

	maxGuestBudgetBytes = 1 << 46

	// aboutLogRate bounds the lines a second about one module's failures, with a burst of as many.
	aboutLogRate = 20

	// maxInstances bounds what one module may be configured to: each costs at least two wazero functions (24 KB)
	// and its memory.
	maxInstances = 1 << 16

	// maxReasons bounds the list of a LoadError: a hostile file can have any number of bad imports.
	maxReasons = 32

	// maxRandomBytes bounds one request for random bytes, so that no host function takes longer than about a
	// millisecond.
	maxRandomBytes = 1 << 20

	// maxLogLineBytes bounds one line of a guest, by log or by stdout and stderr. A longer one is cut.
	maxLogLineBytes = 4 << 10

	// maxLogBytes bounds what one call may log, each line counted with logLineCost so that empty lines cost too.
	// Further lines are dropped and counted.
	maxLogBytes = 64 << 10
	logLineCost = 64

	// maxOutputBytes bounds what one call may write to stdout and stderr, heard or not, each write counted with
	// logLineCost. Further writes fail with EIO: a guest must not spin in fd_write on our time.
	maxOutputBytes = 1 << 20
)

// Limits bound what the guests of one module may spend. The zero value of a field means its default.
type Limits struct {
	// Fuel bounds the work of one event; a unit is about eight instructions. Events that may take longer than others
	// get as much more. Range [1, 1<<50]; 0 means 100,000,000: 50 ms of the tightest loop, so that work usually ends by
	// Timeout. Set it lower where the same event must end the same way on every machine.
	Fuel int64 `koanf:"fuel" over:"trap: close 1011"`
	// Timeout bounds the time of one event: a message, a timer, a close. An event that is over within some hundred
	// microseconds of work is never stopped by it, however busy the machine is. Range (0, 1h]; 0 means 50ms.
	Timeout time.Duration `koanf:"timeout" over:"trap: close 1011"`
	// OpenTimeout is Timeout for the upgrade and open events. 0 means 250ms.
	OpenTimeout time.Duration `koanf:"open_timeout" over:"trap: HTTP 500, close 1011"`
	// StartTimeout is Timeout for the start code of an instance and its init event. 0 means 1s.
	StartTimeout time.Duration `koanf:"start_timeout" over:"the instance is refused"`
	// StackBytes bounds the call stack of a guest, estimated from its code. Range [1, 64<<20]; 0 means 1<<20.
	StackBytes int `koanf:"stack_bytes" over:"trap: close 1011"`
	// HostCalls bounds the host functions that one event may call; more answer "too many". Range [1, 1<<30]; 0 means
	// 10,000.
	HostCalls int `koanf:"host_calls" over:"host call answers too many"`
	// LogRate bounds the lines that the module may log and print a second, over all its instances, with a burst of as
	// many; more are dropped and counted. Range [1, 1<<20]; 0 means 100.
	LogRate int `koanf:"log_rate" over:"lines are dropped"`
}

const (
	maxFuel       = 1 << 50
	maxTimeout    = time.Hour
	maxStackBytes = 64 << 20
	maxHostCalls  = 1 << 30
	maxLogRate    = 1 << 20
)

// WithDefaults returns l with every zero field replaced by its default.
func (l Limits) WithDefaults() Limits {
	setDefault(&l.Fuel, 100_000_000)
	setDefault(&l.Timeout, 50*time.Millisecond)
	setDefault(&l.OpenTimeout, 250*time.Millisecond)
	setDefault(&l.StartTimeout, time.Second)
	setDefault(&l.StackBytes, 1<<20)
	setDefault(&l.HostCalls, 10_000)
	setDefault(&l.LogRate, 100)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every mistake in l, each with its key.
func (l Limits) Validate() error {
	var errs []error
	within := func(key string, v, most int64) {
		if v < 0 || v > most {
			errs = append(errs, fmt.Errorf("%s: %d is not within [1, %d]", key, v, most))
		}
	}
	time := func(key string, d time.Duration) {
		if d < 0 || d > maxTimeout {
			errs = append(errs, fmt.Errorf("%s: %v is not within (0, %v]", key, d, maxTimeout))
		}
	}
	within("fuel", l.Fuel, maxFuel)
	time("timeout", l.Timeout)
	time("open_timeout", l.OpenTimeout)
	time("start_timeout", l.StartTimeout)
	within("stack_bytes", int64(l.StackBytes), maxStackBytes)
	within("host_calls", int64(l.HostCalls), maxHostCalls)
	within("log_rate", int64(l.LogRate), maxLogRate)
	return errors.Join(errs...)
}
