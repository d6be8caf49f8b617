//go:build !race

package runtime

// jailLimitsMemory says whether a child's address space is limited.
const jailLimitsMemory = true
