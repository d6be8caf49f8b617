package systemd

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// The states of a service, as Notify takes them.
const (
	Ready     = "READY=1"
	Stopping  = "STOPPING=1"
	Alive     = "WATCHDOG=1" // what the watchdog waits for
	reloading = "RELOADING=1"
)

// Status is a state for people: one line that `systemctl status` shows.
func Status(line string) string { return "STATUS=" + strings.ReplaceAll(line, "\n", " ") }

// ExtendTimeout is a state that asks for more time to start or to stop, from now on.
func ExtendTimeout(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// Notifier tells the supervisor of the service's state. Nil tells nobody.
type Notifier struct {
	to       net.UnixAddr
	watchdog time.Duration
}

// NewNotifier is for the supervisor that environ names; nil if it names none. pid is
// this process.
func NewNotifier(environ []string, pid int) *Notifier {
	path := lookUp(environ, "NOTIFY_SOCKET")
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
		return nil // none, or a vsock, to the host of a virtual machine
	}
	n := &Notifier{to: net.UnixAddr{Net: "unixgram", Name: path}} // package net knows what @ means
	if owner := lookUp(environ, "WATCHDOG_PID"); owner == "" || owner == strconv.Itoa(pid) {
		usec, err := strconv.ParseInt(lookUp(environ, "WATCHDOG_USEC"), 10, 64)
		if err == nil && usec > 0 && usec < int64(24*time.Hour/time.Microsecond) {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return n
}

// Watchdog is how long the supervisor waits for Alive before it takes the service for
// dead; 0 means that it does not wait.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// notifyTimeout bounds the wait for a supervisor that does not read.
const notifyTimeout = time.Second

// Notify tells the states, all at once. It waits no longer than a second, and fails
// when the supervisor does not listen, which nothing depends on.
func (n *Notifier) Notify(states ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &n.to)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(states, "\n")))
	return err
}

// Reloading tells that the service reads its configuration again. Ready must follow,
// whatever comes of that.
func (n *Notifier) Reloading() error {
	if n == nil {
		return nil
	}
	return n.Notify(reloading, "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}
