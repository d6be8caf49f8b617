package systemd

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func TestNotifying(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	supervisor, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Skipf("no datagrams between processes here: %v", err)
	}
	defer supervisor.Close()
	hears := func(want string) {
		t.Helper()
		p := make([]byte, 1024)
		if err := supervisor.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := supervisor.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(p[:n]); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("it hears %q, want %q", got, want)
		}
	}
	n := NewNotifier([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1500000", "WATCHDOG_PID=7"}, 7)
	for _, tc := range []struct {
		told error
		want string
	}{
		{n.Notify(Ready, Status("2 connections\nand more")), "READY=1\nSTATUS=2 connections and more"},
		{n.Reloading(), "RELOADING=1\nMONOTONIC_USEC=[0-9]+"},
		{n.Notify(Stopping, ExtendTimeout(90*time.Second)), "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000"},
		{n.Notify(Alive), "WATCHDOG=1"},
	} {
		if tc.told != nil {
			t.Fatal(tc.told)
		}
		hears(tc.want)
	}
	if got := n.Watchdog(); got != 1500*time.Millisecond {
		t.Errorf("the watchdog waits %v", got)
	}
	if got := NewNotifier([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1500000", "WATCHDOG_PID=8"}, 7).Watchdog(); got != 0 {
		t.Errorf("another process's watchdog waits %v for us", got)
	}
}

func TestNobodyToNotify(t *testing.T) {
	for _, environ := range [][]string{nil, {"NOTIFY_SOCKET="}, {"NOTIFY_SOCKET=vsock:2:1234"}, {"WATCHDOG_USEC=1000000"}} {
		n := NewNotifier(environ, 7)
		if n != nil {
			t.Errorf("%q: there is somebody to notify", environ)
		}
		if err := n.Notify(Ready); err != nil || n.Reloading() != nil || n.Watchdog() != 0 {
			t.Errorf("%q: telling nobody fails", environ)
		}
	}
	gone := NewNotifier([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "gone")}, 7)
	if err := gone.Notify(Ready); err == nil {
		t.Error("a supervisor that is gone was told")
	}
}
