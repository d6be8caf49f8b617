package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Variables are the names in the environment that this package reads. They are for
// one process; its children should not get them.
func Variables() []string {
	return []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
}

// Socket is a socket that was passed to this process and listens.
type Socket struct {
	// Name is the FileDescriptorName= of the unit, which is the unit's own name,
	// such as "weir.socket", when it has none.
	Name string
	// File is the socket. Whoever takes it closes it.
	File *os.File
	// Addr is where it listens.
	Addr net.Addr
}

// String is the socket as a message names it.
func (s Socket) String() string {
	return fmt.Sprintf("%s (%s)", s.Name, s.Addr)
}

// firstFD is the first descriptor that is passed (SD_LISTEN_FDS_START).
const firstFD = 3

// maxSockets bounds what LISTEN_FDS may say. Nobody passes more.
const maxSockets = 1024

// Sockets are those that environ says were passed to the process pid. From then on
// no child inherits them. None is no error, and neither is what was meant for
// another process. Call it once: the descriptors are the result's.
func Sockets(environ []string, pid int) ([]Socket, error) {
	names, err := passed(environ, pid)
	if err != nil {
		return nil, err
	}
	var all []Socket
	var errs []error
	for i, name := range names {
		s, err := open(firstFD+i, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("the socket %s that was passed as descriptor %d: %w", name, firstFD+i, err))
			continue
		}
		all = append(all, s)
	}
	if len(errs) > 0 {
		Close(all)
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// Close closes the files of sockets that nobody has taken.
func Close(sockets []Socket) {
	for _, s := range sockets {
		_ = s.File.Close() // nothing was written
	}
}

// passed returns the name of each descriptor that was passed, in order.
func passed(environ []string, pid int) (names []string, err error) {
	if lookUp(environ, "LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	text := lookUp(environ, "LISTEN_FDS")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS is %q, which is no number of sockets", text)
	}
	given := strings.Split(lookUp(environ, "LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown" // as sd_listen_fds_with_names does
		if i < len(given) && given[i] != "" {
			name = given[i]
		}
		names = append(names, name)
	}
	return names, nil
}

// lookUp returns the value of a variable, the last one as execve would have it; ""
// if there is none.
func lookUp(environ []string, name string) string {
	for _, v := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
