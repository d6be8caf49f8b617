// Package load is a WebSocket client that is cheap enough to share two cores
// with the server it loads: one goroutine on one thread, one epoll instance, raw
// non-blocking sockets, one read and one write for all the replies of a
// connection that have arrived, no allocation in steady state.
//
// It trusts no server. Handshakes are checked to the accept key, and of every
// reply the opcode, the length, the order and every byte of the payload, which
// names its connection and its place in the sequence. The first wrong answer
// ends the run with an error.
//
// A run ([Echo], [Publish], [Idle], [Connect]) uses the calling goroutine and
// starts no other. Runs must not share a process when their memory or CPU time
// is to be told apart.
package load
