package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Faults is a set of things that go wrong in a [World].
type Faults uint32

// What the network, the poller and the executor do.
const (
	// Split lets bytes arrive in pieces, down to one byte.
	Split Faults = 1 << iota
	// Delay gives each piece a delay of its own, so that connections overtake one
	// another.
	Delay
	// Choke makes send buffers small, and writes take a part of what is offered,
	// or nothing.
	Choke
	// Spurious tells of readiness that is not there.
	Spurious
	// Stale gives descriptor numbers away again at once.
	Stale
	// Preempt runs other goroutines' work within socket calls.
	Preempt
	// Overload makes the executor say at times that it has too much to do.
	Overload
	// AcceptErrors lets accepting fail for want of descriptors.
	AcceptErrors
	// StartErrors lets the poller refuse sockets.
	StartErrors
)

// What the clients of [Run] do.
const (
	// Resets are connections that break off.
	Resets Faults = 1 << (16 + iota)
	// HalfCloses are clients that say that they will send no more, and read on.
	HalfCloses
	// SlowReaders stop reading for a while.
	SlowReaders
	// BadPeers break the protocol, or the handshake, or stop in the middle.
	BadPeers
	// Failures are handlers that trap or return an error after asking for effects.
	Failures

	// NoFaults is the empty set.
	NoFaults Faults = 0
	// AllFaults is the full set.
	AllFaults = Split | Delay | Choke | Spurious | Stale | Preempt | Overload | AcceptErrors | StartErrors |
		Resets | HalfCloses | SlowReaders | BadPeers | Failures
)

var faultNames = []struct {
	fault Faults
	name  string
}{
	{Split, "split"}, {Delay, "delay"}, {Choke, "choke"}, {Spurious, "spurious"}, {Stale, "stale"},
	{Preempt, "preempt"}, {Overload, "overload"}, {AcceptErrors, "accept-errors"}, {StartErrors, "start-errors"},
	{Resets, "resets"}, {HalfCloses, "half-closes"}, {SlowReaders, "slow-readers"}, {BadPeers, "bad-peers"}, {Failures, "failures"},
}

// Has reports whether f holds all of g.
func (f Faults) Has(g Faults) bool { return f&g == g }

// String lists the names, joined by '+'; "none" for the empty set.
func (f Faults) String() string {
	var names []string
	for _, n := range faultNames {
		if f.Has(n.fault) {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "+")
}

// ParseFaults reads what String writes; "all" is AllFaults.
func ParseFaults(s string) (Faults, error) {
	switch s {
	case "all":
		return AllFaults, nil
	case "none":
		return NoFaults, nil
	}
	var f Faults
next:
	for name := range strings.SplitSeq(s, "+") {
		for _, n := range faultNames {
			if n.name == name {
				f |= n.fault
				continue next
			}
		}
		return 0, fmt.Errorf("unknown fault %q; known are all, none and combinations of %s", name, strings.ReplaceAll(AllFaults.String(), "+", ", "))
	}
	return f, nil
}

// swarm draws a subset: a run with few kinds of faults reaches places that one
// with all of them does not.
func (f Faults) swarm(rng *rand.Rand) Faults {
	if rng.IntN(8) == 0 {
		return f
	}
	return f & Faults(rng.Uint32())
}
