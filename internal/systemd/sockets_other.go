//go:build !unix

package systemd

import "errors"

func open(int, string) (Socket, error) {
	return Socket{}, errors.New("this system passes no sockets")
}
