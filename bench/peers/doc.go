// Package peers holds small, fair servers to compare weir with: each uses its
// library the way that library's own documentation recommends, echoes every
// message on "/" and, where [Peer.Publish] says so, publishes every message
// received on "/publish" to every connection there.
//
// They are measuring instruments, not examples to copy: origins are not
// checked, nothing is limited, nothing times out.
//
// A peer serves from its own goroutines. Start and Close may be called from any
// goroutine.
package peers
