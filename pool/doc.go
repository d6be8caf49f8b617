// Package pool runs bounded turns of work on a bounded set of goroutines, and
// lends the byte buffers that such work needs.
//
// # Turns
//
// A [Task] is anything with a Run method, so a connection is its own task and
// queueing it allocates nothing. Run does one bounded turn and says whether
// there is more: then the task goes to the tail of the run queue, behind
// everybody who waited meanwhile. The queue is first in, first out.
//
// The queue has no capacity at which [Pool.Submit] fails or waits, because
// the caller is usually the poller's goroutine, which must never block. What
// bounds it is the rule that a task is queued at most once: its length never
// exceeds the number of tasks alive, that is, of connections. Who creates
// tasks asks [Pool.Overloaded] first and sheds.
//
// # Waking
//
// Waking a sleeping goroutine costs more than most turns. So at most one
// worker is on its way from sleep to the queue at any time ("searching"). It
// takes a task, and only if tasks remain does it send the next worker on its
// way. Workers sleep each on its own channel, and the one that fell asleep
// last is woken first: its stack and caches are warm, and with little work
// the others stay asleep. All of this is decided under one mutex, so that no
// wake-up can be lost; the mutex is held for some tens of nanoseconds, never
// across Run.
//
// # What this package must never do
//
// It never blocks in Submit, never runs one task on two goroutines unless the
// owner queued it twice, and never recovers a panic of a task: a panic is our
// own mistake and ends the process with its trace.
//
// # Buffers
//
// [Take] lends reference-counted buffers of power-of-two sizes, so that one
// payload can wait in many outbound queues.
//
// Every exported function and method may be called from any goroutine.
package pool
