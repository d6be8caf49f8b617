package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// wasiModule is the import module of WASI preview 1, which is answered by wazero from what configureWASI gives it.
const wasiModule = wasi_snapshot_preview1.ModuleName

// linkWASI instantiates WASI in rt.
func linkWASI(ctx context.Context, rt wazero.Runtime) error {
	_, err := wasi_snapshot_preview1.Instantiate(ctx, rt)
	return err
}

// wasiFuel is what a function of WASI costs a guest. They run on our time, and some as long as the guest's memory holds
// arguments for them: poll_oneoff walks through a list, random_get fills a buffer.
func wasiFuel(module, name string) int64 {
	switch {
	case module != wasiModule:
		return 0
	case name == "poll_oneoff":
		return maxQuantum
	case name == "random_get":
		return 5_000
	default:
		return 1_000
	}
}

// configureWASI gives one instance its clocks, its random bytes and its output. There are no files, sockets,
// arguments or environment variables unless a configuration names them, and here none does.
func configureWASI(config wazero.ModuleConfig, c *callContext) wazero.ModuleConfig {
	return config.
		WithStdout(&c.out.stdout).
		WithStderr(&c.out.stderr).
		WithWalltime(c.walltime, 1_000_000).
		WithNanotime(c.nanotime, 1).
		WithNanosleep(c.sleep).
		WithRandSource((*randomSource)(c))
}

// clock is what an instance knows of time. Within an event the Host's times stand still; only WASI's clocks move, by
// the guest's sleeps, and stay ahead until real time has caught up, so that WASI's monotonic clock never goes back.
type clock struct {
	stale  bool  // the running call's Host was not asked yet
	unixMs int64 // the Host's times in the running or the last event; 0 before the first
	monoNs int64
	skewNs int64 // what WASI's clocks are ahead, at least 0
}

// refresh reads the Host's clocks once per call, and only if the guest wants to know.
func (c *callContext) refresh() {
	t := &c.clock
	if !t.stale || c.host == nil {
		return
	}
	ahead := t.monoNs + t.skewNs
	t.unixMs, t.monoNs = c.host.TimeUnixMs(), c.host.TimeMonoNs()
	t.skewNs = max(0, ahead-t.monoNs)
	t.stale = false
}

// walltime is WASI's time of day.
func (c *callContext) walltime() (sec int64, nsec int32) {
	c.refresh()
	sec, ms := c.clock.unixMs/1000, c.clock.unixMs%1000
	if ms < 0 {
		sec, ms = sec-1, ms+1000
	}
	ns := ms*1_000_000 + c.clock.skewNs%1_000_000_000
	sec += c.clock.skewNs / 1_000_000_000
	return sec + ns/1_000_000_000, int32(ns % 1_000_000_000)
}

// nanotime is WASI's monotonic clock. It starts at 1 because Go's runtime takes 0 for a broken clock.
func (c *callContext) nanotime() int64 {
	c.refresh()
	return c.clock.monoNs + c.clock.skewNs + 1
}

// maxSkewNs keeps sums of times from overflowing: about 146 years.
const maxSkewNs = math.MaxInt64 / 2

// sleep moves WASI's clocks instead of waiting. MaxInt64 is wazero's poll_oneoff without a clock to wait for.
func (c *callContext) sleep(ns int64) {
	if ns <= 0 || ns == math.MaxInt64 {
		return
	}
	c.refresh()
	c.clock.skewNs = min(c.clock.skewNs+min(ns, maxSkewNs), maxSkewNs)
}

// newRandom returns the stream of random bytes of one instance.
func newRandom(name string, seed, generation, ordinal uint64) *rand.ChaCha8 {
	material := binary.LittleEndian.AppendUint64(nil, seed)
	material = binary.LittleEndian.AppendUint64(material, generation)
	material = binary.LittleEndian.AppendUint64(material, ordinal)
	return rand.NewChaCha8(sha256.Sum256(append(material, name...)))
}

// randomSource is the instance's random stream for WASI's random_get.
type randomSource callContext

var errTooRandom = errors.New("runtime: too many random bytes at once")

// Read fills p; WASI turns an error into EIO.
func (r *randomSource) Read(p []byte) (int, error) {
	if len(p) > maxRandomBytes {
		return 0, errTooRandom
	}
	r.meter.moved(len(p))
	return r.random.Read(p)
}

// noRandom is the random source of a guest that cannot ask for one, having no WASI.
type noRandom struct{}

// Read fills p with zeros.
func (noRandom) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
