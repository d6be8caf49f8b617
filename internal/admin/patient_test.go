package admin

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
)

// scripted is a listener whose Accept answers what it was told.
type scripted struct {
	net.Listener
	errs chan error
}

func (s scripted) Accept() (net.Conn, error) {
	if err := <-s.errs; err != nil {
		return nil, err
	}
	conn, _ := net.Pipe()
	return conn, nil
}

func (scripted) Close() error { return nil }

func TestTheListenerOutlivesWantOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted{errs: make(chan error, 9)}
		p := newPatient(s, slog.New(slog.DiscardHandler))
		for _, err := range []error{syscall.ENOMEM, syscall.EPERM, syscall.EMFILE, errors.New("something"), nil} {
			s.errs <- err
		}
		if conn, err := p.Accept(); err != nil || conn == nil {
			t.Errorf("%v, %v; want a connection after four failures", conn, err)
		}
		s.errs <- net.ErrClosed
		if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		s.errs <- syscall.ENOMEM // and is closed while it pauses
		over := make(chan error)
		go func() {
			_, err := p.Accept()
			over <- err
		}()
		synctest.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-over; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed in a pause: %v", err)
		}
	})
}
