package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// isolate moves the rest of the test, and the processes that it starts, into a network of its own, or skips. The thread
// ends with the test: it is never unlocked.
func isolate(t *testing.T) {
	t.Helper()
	for _, program := range []string{"ip", "unshare", "nsenter"} {
		needTool(t, program)
	}
	goruntime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
}

// sh runs a line of sh in the network of the calling thread.
func sh(line string) error {
	if said, err := exec.Command("/bin/sh", "-ec", line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, said)
	}
	return nil
}

// overSocket is a client of the admin listener at a Unix socket, which is no part of any network namespace.
func overSocket(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.DialTimeout("unix", path, patience)
		},
	}}
}

// T-066: the cable is pulled. No FIN comes, and those behind it are found by the ping that they do not answer, or by what
// they do not acknowledge.
func TestTheLinkGoesDown(t *testing.T) {
	needBinary(t)
	isolate(t)
	const clients, ping, pong = 40, time.Second, time.Second
	site := puppetSite(t, unhurried, patiently+fmt.Sprintf("websocket: {ping_interval: %v, pong_timeout: %v}\ndrain: {spread: 10ms, timeout: 5s}\n", ping, pong))
	socket := filepath.Join(filepath.Dir(site), "admin")
	const port = "7066"
	s := underShell(t, `WEIR_ADMIN_LISTEN='unix:`+socket+`' WEIR_SERVER_LISTEN='0.0.0.0:`+port+`' exec unshare -n "$@"`, site)
	pid := strconv.Itoa(s.cmd.Process.Pid)
	err := errors.Join(
		sh("ip link set lo up; ip link add here type veth peer name there netns "+pid+"; ip addr add 10.66.0.1/30 dev here; ip link set here up"),
		sh("nsenter -t "+pid+" -n sh -ec 'ip addr add 10.66.0.2/30 dev there; ip link set there up'"),
	)
	if err != nil {
		t.Skipf("no link can be made here: %v", err)
	}
	admin := overSocket(socket)
	series := func(pattern string) (total float64) {
		resp, err := admin.Get("http://localhost/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(string(text), -1) {
			n, err := strconv.ParseFloat(m[len(m)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		return total
	}
	const connections = `weir_connections\{route="/puppet"\}`
	address := "10.66.0.2:" + port
	for i := range clients {
		c, err := dial(address, "/puppet?open=join+ticks")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.drop)
		if i == 0 { // from now on the module publishes ten times a second
			if err := c.script("mtimer 1 100 100"); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 { // the other half is sent something when the link is gone
			if err := c.script("leave ticks"); err != nil {
				t.Fatal(err)
			}
		}
		go func() { // answers pings; ends with the connection
			for {
				c.soon()
				if op, _, err := c.next(); err != nil || op == opClose {
					return
				}
			}
		}()
	}
	time.Sleep(ping + pong + ping/2) // what is seen is that nothing happens in that time
	if n := series(connections); n != clients {
		t.Errorf("%v of %d clients are there while the link is up", n, clients)
	}
	if err := sh("ip link set here down"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if !eventually(func() bool { return series(connections) == 0 }) {
		t.Errorf("%v connections are taken for open after %v", series(connections), time.Since(begun))
	}
	took := time.Since(begun)
	pinged, all := series(`weir_connections_ended_total\{cause="ping_timeout"\}`), series(`weir_connections_ended_total\{cause="\w+"\}`)
	if all != clients {
		t.Errorf("%v ends are counted, want %d", all, clients)
	}
	if err := sh("ip link set here up"); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool {
		c, err := dial(address, "/canary")
		if err != nil {
			return false
		}
		return c.goodbye() == nil
	}) {
		t.Error("with the link up again nobody is let in")
	}
	tell(t, "T-066", "the link to 40 clients goes down, half of which are sent something then; ping_interval and pong_timeout are 1s", "nobody was dropped while it was up; then all were after %v, %v of them by ping_timeout; with the link up again the next one was served", took.Round(10*time.Millisecond), pinged)
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}
