// Package host is the server: it owns the connections, speaks RFC 6455 with
// them, and calls the handlers of package runtime for what they say.
//
// # Life of a connection
//
//	accept → handshake → open → closing → lingering → dead
//
// A connection is a lane: one goroutine at a time takes it for a turn, does a
// bounded amount of work and lets go. Whoever has something for a connection
// (the poller: bytes; the timing wheel: a deadline; another connection's
// handler: a close) posts a bit into its inbox; the poster that finds the lane
// free also schedules it. So events of one connection never run side by side and
// never get lost, whatever goroutine they come from (lane.go).
//
// A turn runs on the poller's own goroutine when the handler's generation has
// proved quick and an instance is free, else on a worker of the pool
// (dispatch.go). What a goroutine needs for a turn, a reader, buffers and the
// record of the handler's effects, it borrows (turn.go): an idle connection
// holds none of it.
//
// # Who shares an instance
//
// A cell is whom one set of instances serves: all connections of a module's
// pool, or one connection, the connections of a key, or those of a singleton,
// with an instance of their own (cell.go). The module's ruling says which
// generation serves which cell or connection (generation.go); when it changes, a
// pool's connections follow with their next turn, other cells each by itself and
// with what its instance has saved (carry.go).
//
// # Who reaches in from outside
//
// Whoever holds a Server may list connections and topics, send, close and publish
// (connections.go, topics.go): any goroutine is as good as another lane for the
// ways of write.go and rooms.go. A listing looks at one connection at a time and
// is true of no single moment. A tail (tail.go) shows what happens; a turn looks
// once whether there is one, and never waits for it.
//
// # Who owns which field
//
// Fields of Conn under "the lane" belong to the goroutine that has the lane.
// Fields under "mu" may be touched by any goroutine. Everything else is fixed
// when the connection opens.
//
// # Lock order
//
// tenant.reloading, tenant.changing, tenant.cellsMu, cell.mu; topicIndex.mu,
// then topic.mu, then Conn.mu; all before the wheel's lock. tails.mu is held with
// no other. But for reloading,
// which only reloads wait for, and changing, under which what is retired may
// close, locks are never held across a system call, a guest call or a callback.
// The socket's writer is not chosen by a lock but by Conn.writing: who sets it
// writes, and everybody else only appends to the queue (write.go).
package host
