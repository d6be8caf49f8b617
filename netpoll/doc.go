// Package netpoll says which sockets are ready, for more sockets than one
// would want goroutines. It owns listening and connected sockets from birth
// to close; what the bytes mean is not its business.
//
// # Readiness
//
// A [Poller] deals its sockets to shards. A shard is an epoll set (on macOS a
// kqueue) and one goroutine that waits on it and calls [Handler.Ready] for one
// socket after another. Interest is edge-triggered: readiness is told once,
// when it arises, and whoever is told reads, accepts or writes until
// [ErrWouldBlock]. Stopping earlier is allowed if he comes back by himself,
// as a task that goes to the tail of a run queue does. That saves a system
// call for every message, compared with arming the socket again.
//
// Events are hints. One may be told late, twice, or to the next owner of a
// descriptor's number, because the kernel hands them out in batches and a
// descriptor may be closed and given out again while its batch is worked
// through. All an event ever means is "try"; a needless try costs a system
// call and ends with ErrWouldBlock. So an owner keeps one atomic state (idle,
// queued, running, running and told again) and is then never lost and never
// run twice at a time. Events of a closed socket are dropped and counted.
//
// # Callbacks
//
// Ready runs on the shard's goroutine and must never block: all sockets of
// the shard wait meanwhile. It may run one bounded turn, close its own or
// another socket, and switch write interest. It must not call [Poller.Close].
//
// # Descriptors
//
// Each connection has one descriptor, non-blocking and close-on-exec, that
// Go's own poller never sees (a socket watched by two pollers wakes both).
// Nobody else closes it and its number is never given away; [Socket.Detach]
// gives away a duplicate. Closing takes the socket from the poller first, then
// closes it, once. Calls that cannot sleep are made without the Go scheduler's
// bookkeeping where that is possible.
//
// # Systems
//
// Linux and macOS use the epoll and kqueue wrappers of mailru/easygo on raw
// descriptors, and of those only what takes raw descriptors: its Desc
// duplicates each descriptor and makes it blocking. Other systems get the same
// contract from a parked goroutine and a small buffer per connection, which
// the tests run everywhere as the reference.
package netpoll
