// Package weirtest tests handlers from Go: compiled modules of any language,
// under the real server and the real sandbox.
//
// [New] makes a world in virtual time: clients that a test opens, a network
// without delay, a clock that moves when the test says so. Nothing in it depends
// on the machine; a seed is a whole run. [RunScenarios] plays scenario files in
// the same way, [Fuzz] plays random events, [Bench] measures. [Serve] is the
// exception: a server on a real port, for clients of your own.
//
// A world belongs to the goroutine of its test; tests may run in parallel. What
// handlers and server log goes to the test's log.
//
// This package must never be linked into a server: it keeps compiled modules
// until the process ends. The package of the same name in the Go SDK is another
// one: it runs a Go handler natively, without WebAssembly.
package weirtest
