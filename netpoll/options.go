package netpoll

import (
	"errors"
	"fmt"
	goruntime "runtime"
)

// maxShards bounds Options.Shards.
const maxShards = 256

// Options are the knobs of a Poller. The zero value is ready for use.
type Options struct {
	// Shards is the number of pollers, each with its own goroutine, that the
	// sockets are dealt to in turn. Every shard keeps one thread waiting in
	// the kernel. Range [1, 256]; 0 means half of GOMAXPROCS, at least 1: the
	// kernel's own network work and the workers of a pool want the other half
	// (docs/adr/0001).
	Shards int `koanf:"shards"`

	// OnError is told that a shard stopped waiting for events, from that
	// shard's goroutine. Its sockets will never hear of anything again, so
	// this is fatal for a server. nil means to panic.
	OnError func(error) `koanf:"-"`
}

// Validate reports every value out of range, joined into one error.
func (o Options) Validate() error {
	var errs []error
	if o.Shards < 0 || o.Shards > maxShards {
		errs = append(errs, fmt.Errorf("shards: %d is not in [0, %d]", o.Shards, maxShards))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Shards == 0 {
		o.Shards = min(max(goruntime.GOMAXPROCS(0)/2, 1), maxShards)
	}
	if o.OnError == nil {
		o.OnError = func(err error) { panic(err) }
	}
	return o
}
