// Package child starts the servers that are measured, each a process of its own, and ends them. It measures nothing,
// and lets no server outlive the harness. A Process belongs to the goroutine that started it.
package child
