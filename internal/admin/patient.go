package admin

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// patient is a listener whose Accept fails only when it was closed. net/http takes
// most errors of the system for the end of a listener, and those of a moment's
// want, such as ENOMEM, would leave a server that nobody can look into any more.
type patient struct {
	net.Listener
	logger *slog.Logger
	once   sync.Once
	closed chan struct{}
}

func newPatient(ln net.Listener, logger *slog.Logger) *patient {
	return &patient{Listener: ln, logger: logger, closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (p *patient) Accept() (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		conn, err := p.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		p.logger.Warn("the admin listener cannot accept; trying again", "err", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-p.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}
