// Package kernels is the work that the metering benchmark has its guests do: SHA-256, JSON, and the Mandelbrot set. It
// holds what a guest is asked and what it must answer; c/ and goguest/ are the guests.
//
// Whatever is computed depends on every byte of the message and every round on the one before, so that no compiler
// leaves work out. The package measures nothing, and runs in guests too: it must not import what a guest cannot have.
// Everything is a pure function; any goroutine.
package kernels
