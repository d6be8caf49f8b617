// Package weir is for writing handlers for the weir WebSocket server in Go.
//
//	package main
//
//	import weir "weir/guest-sdk/go"
//
//	func init() {
//		weir.Handle(weir.Handler{
//			Message: func(c weir.Conn, m weir.Message) error {
//				return c.Send(m)
//			},
//		})
//	}
//
//	func main() {}
//
// Built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o echo.wasm .
//
// it is a module for weir serve echo.wasm. The same package builds natively, where package weirtest plays the
// clients: go test, a debugger and a coverage report work as in any Go program.
//
// # All or nothing
//
// The server calls a handler for one event at a time. What the handler asks for (messages, closes, joins, publishes,
// state, timers) is held back until it returns. nil commits all of it in the order of the calls. An error, or a panic,
// throws all of it away; the server then closes the connection with code 1011 and starts afresh with a new instance.
// So an error is for what must not have happened. For a peer that misbehaves, Close the connection with a code that
// tells it so, and return nil.
//
// # Where to keep things
//
// A module runs in several instances, and any of them may serve the next event of a connection (unless the route's
// scope says otherwise). What belongs to a connection goes into its state, see [Conn.SetState], which also survives
// when the module is replaced. Package variables are good for what every instance can have for itself: templates,
// configuration, caches.
//
// Calls of one instance never overlap, so nothing needs a lock. Goroutines run only while a call is being handled;
// do not leave one behind. time.Now and [Now] stand still within an event.
package weir
