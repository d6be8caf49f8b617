// Goguest answers the messages of weir/bench/kernels, in Go.
package main

import (
	"weir/bench/kernels"

	weir "weir/guest-sdk/go"
)

func init() { weir.Handle(weir.Handler{Message: message}) }

func message(c weir.Conn, m weir.Message) error {
	answer, err := kernels.Answer(m.Data)
	if err != nil {
		return c.Close(4400, err.Error())
	}
	return c.Send(weir.Binary(answer))
}

func main() {}
