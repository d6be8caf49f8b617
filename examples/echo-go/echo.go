// Echo sends every message back to where it came from.
package main

import weir "weir/guest-sdk/go"

func init() {
	weir.Handle(weir.Handler{
		Message: func(c weir.Conn, m weir.Message) error {
			return c.Send(m)
		},
	})
}

func main() {}
