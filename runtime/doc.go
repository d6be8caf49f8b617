// Package runtime is the sandbox: it compiles modules, keeps their instances and calls them.
//
// An [Engine] loads a file of WebAssembly into a [Module], one generation under one name. A Module owns a bounded pool
// of instances. An [Instance] is one linear memory and runs one call at a time: the caller takes it, writes the payload
// into the guest's inbound buffer ([Instance.Inbound]), delivers one event ([Instance.Call]) and gives it back. While
// the guest runs it calls host functions; those that reach beyond the sandbox arrive at the [Host] of that call.
// The package keeps nothing of what a call asked for: whether effects take hold is the Host's decision.
//
// # What a guest can do
//
// It computes within its memory, calls the host functions of ABI 1 and a silent WASI: no files, no sockets, no
// arguments, no environment. Lines on stdout and stderr become log records. Clocks stand still during an event, a
// sleep returns at once having moved that instance's WASI clocks forward, and random bytes come from a stream that is
// seeded per instance; so a list of events replays bit for bit.
//
// # What a guest cannot do
//
// It cannot grow its memory past its module's limit or the budget of all guests, reach a function that the operator did
// not grant (a module that imports one is refused, or gets one that answers denied), or make the host read or write
// outside its memory: every pointer is checked (memory.go), and a bad one is an error status. It cannot run, call or
// recurse without end: its code was rewritten at load to spend fuel (admit.go, meter.go), and who runs out of fuel, time
// or stack is stopped. A trap ends the instance, which its user must then discard: a guest that stopped half-way has
// half-done state. It never ends the process. A panic of a Host does: it is our own mistake, and it is not mistaken for
// the guest's.
//
// A file cannot hurt the compiler: internal/wasm bounds what is in it, and where the system can, a child process
// compiles it first (jail.go).
//
// # Goroutines
//
// Engine and Module may be used by any goroutine. An Instance belongs to the goroutine that took it; two at once in
// one instance would crash the process, so it panics instead. A Host is called on the goroutine of the call. The
// package uses no finalizer: a retired Module closes when its last user leaves. The only goroutines that outlive
// a call are those of os/exec while a jail runs, and those that write tapes, for which [Engine.Close] waits.
//
// # Tapes
//
// An instance of a module that records ([ModuleOptions].Record) keeps a tape of what it was asked and answered (record.go).
// When its guest stops, the tape goes to a file (tapes.go), and [Replay] repeats it bit for bit.
//
// # Memory of a guest
//
// A slice of guest memory is lent: what Inbound returns is good until the next Call or Inbound, what a Host receives
// until its method returns. Guest memory may move whenever the guest runs.
package runtime
