package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"syscall"

	"weir/netpoll"
)

// networkOf splits an entry of ServerOptions.Listen into what Deps.Bind takes. An
// address that stands for all addresses of a family stands for no others, so that
// both families can be listed.
func networkOf(entry string) (network, address string) {
	if path, ok := strings.CutPrefix(entry, "unix:"); ok {
		return "unix", path
	}
	switch name, _, _ := net.SplitHostPort(entry); name {
	case "0.0.0.0":
		return "tcp4", entry
	case "::":
		return "tcp6", entry
	default:
		return "tcp", entry
	}
}

// parseMode reads permissions in octal digits; "" is 0.
func parseMode(digits string) (fs.FileMode, error) {
	if digits == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return 0, fmt.Errorf("%q is not permissions in octal digits, such as \"0660\"", digits)
	}
	return fs.FileMode(n), nil
}

// bindPolled is how addresses are bound but for Deps.Bind.
func (s *Server) bindPolled(network, address string) (Listener, error) {
	ln, err := s.poller.ListenWith(network, address, s.opts().ListenOptions())
	if err != nil {
		return nil, err
	}
	return Polled(ln), nil
}

// ListenOptions are how a poller is to listen for a server with these options,
// which have their defaults.
func (o Options) ListenOptions() netpoll.ListenOptions {
	mode, _ := parseMode(o.Server.UnixMode) // Validate has passed it
	return netpoll.ListenOptions{
		ReusePort:   o.Server.ReusePort,
		UserTimeout: cmp.Or(o.Server.TCPUserTimeout, o.WebSocket.PingInterval+o.WebSocket.PongTimeout),
		Mode:        mode,
	}
}

// refuser is a listener that can turn somebody away when the process may open no
// more descriptors, as netpoll's can.
type refuser interface {
	Refuse(answer []byte) error
}

// turnAway is called when accepting has failed with err. If that was for want of
// descriptors, it answers the next connection 503 with the one that the listener
// keeps in reserve. helped is false when accepting has to pause; waits is false
// when no connection is left.
func (a *acceptor) turnAway(err error) (helped, waits bool) {
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return false, true
	}
	ln, ok := a.ln.(refuser)
	if !ok {
		return false, true
	}
	s := a.srv
	switch err := ln.Refuse(rejectedDescriptors.answer().append(nil, nil)); {
	case err == nil:
	case errors.Is(err, netpoll.ErrWouldBlock):
		return true, false
	default:
		return false, true
	}
	s.shed.Add(1)
	s.acceptErrors.Add(1)
	s.rejected[rejectedDescriptors].Add(1)
	if s.strangers.pass(s.clock.Mono()) {
		s.log.Warn("connection refused: the process may open no more descriptors", "err", err)
	}
	return true, true
}
