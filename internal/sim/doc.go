// Package sim runs the real server and the real guests on one goroutine, with
// sockets in memory, a clock that only moves when it is told to, and one seed
// for everything that is left to chance. What happens once happens again: a
// seed is a whole run, bit for bit.
//
// A [World] is for whoever plays clients by hand: scenario files, tests of
// handlers, tapes. [Run] plays many clients at random under faults and checks
// the promises of the server after each step.
//
// # What is modelled
//
// A connection is a pair of pipes with delay, in order within one connection and
// in any order between two. The server's end has a send buffer of bounded size,
// and readiness as epoll gives it: an edge is told once, what it tells is looked
// up when a batch is fetched, and a batch finds its receivers by descriptor
// number, when it is worked through, so that a stale event reaches whoever has
// the number then. Room is told only to who asked with WantWrite and ran out of
// it.
//
// Workers and poller goroutines are steps that are taken in an order drawn from
// the seed. With the fault [Preempt] further steps are taken within a socket
// call, as if other goroutines had run meanwhile; since the server holds no lock
// across such a call, that is an order which threads could have brought about.
//
// # What this package must never do
//
// It never reads a real clock or real randomness, never ranges over a map where
// the order shows, starts no goroutine of its own and never waits. (A server
// keeps one idle goroutine for net/http, which the sockets here do not serve.)
// It knows the server through its exported seams only and repeats none of its
// code: frames are written and read by an independent codec.
//
// A World and its clients belong to one goroutine. Worlds may run side by side,
// also on one engine.
package sim
