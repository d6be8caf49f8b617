//go:build race

package runtime

// jailLimitsMemory is off: the race detector needs several times the address space of what it watches.
const jailLimitsMemory = false
