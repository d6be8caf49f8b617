package pool

import (
	"errors"
	"fmt"
	goruntime "runtime"
)

// Bounds of Options; see the fields.
const (
	maxWorkers       = 1 << 16
	minAutoWorkers   = 4
	defaultQueueHigh = 1024
)

// Options are the knobs of a Pool. The zero value is ready for use.
type Options struct {
	// Workers is the largest number of goroutines that run tasks. They are
	// started when there is work for them and then stay until Close.
	// Range [1, 65536]; 0 means twice GOMAXPROCS, at least 4.
	Workers int `koanf:"workers"`

	// QueueHigh is the number of queued tasks above which Overloaded says
	// true; it says false again below half of it. Not below 1; 0 means 1024.
	QueueHigh int `koanf:"queue_high"`
}

// Validate reports every value out of range, joined into one error.
func (o Options) Validate() error {
	var errs []error
	if o.Workers < 0 || o.Workers > maxWorkers {
		errs = append(errs, fmt.Errorf("workers: %d is not in [0, %d]", o.Workers, maxWorkers))
	}
	if o.QueueHigh < 0 {
		errs = append(errs, fmt.Errorf("queue_high: %d is negative", o.QueueHigh))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = max(2*goruntime.GOMAXPROCS(0), minAutoWorkers)
	}
	if o.QueueHigh <= 0 {
		o.QueueHigh = defaultQueueHigh
	}
	return o
}
