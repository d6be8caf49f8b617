// Package weirtest tests handlers natively. It plays the server and its clients in the test's own process, in virtual
// time, so that go test, a debugger and a coverage report work, and no test waits.
//
//	func TestEcho(t *testing.T) {
//		server := weirtest.New(t, weirtest.Options{})
//		ann := server.Open("/")
//		ann.SendText("hello")
//		ann.WantText("hello")
//	}
//
// The handler is the one that the package under test gave to weir.Handle. Every call delivers its events before it
// returns: after SendText what the handler sent is there. A handler that panics panics in the test.
//
// The server follows the rules that ABI.md writes down, all-or-nothing included, with the default limits. It has one
// instance only: what a handler wrongly keeps in package variables goes unnoticed here, and a real server shows it.
//
// A Server and its Clients belong to one goroutine; servers of tests that run in parallel do not disturb each other.
package weirtest
