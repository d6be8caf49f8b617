//go:build race

package host

// raceEnabled says that the race detector is on, which makes sync.Pool forget
// at random: allocations cannot be counted then.
const raceEnabled = true
