//go:build linux

package deploy

import (
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func (s *supervisor) dial() (*websocket.Conn, error) {
	d := websocket.Dialer{HandshakeTimeout: patience}
	ws, _, err := d.Dial("ws://"+s.socket.Addr().String()+"/", nil)
	if err == nil {
		err = ws.SetReadDeadline(time.Now().Add(patience))
	}
	return ws, err
}

func (s *supervisor) mustDial() *websocket.Conn {
	s.t.Helper()
	ws, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ws.Close() })
	return ws
}

// echo sends a message and reads what comes back.
func echo(ws *websocket.Conn) error {
	if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		// The Close frame may be here already: reading tells.
		_, _, readErr := ws.ReadMessage()
		if websocket.IsCloseError(readErr, websocket.CloseGoingAway) {
			return readErr
		}
		return err
	}
	_, _, err := ws.ReadMessage()
	return err
}

func TestTheServiceTellsHowItIs(t *testing.T) {
	s := newSupervisor(t)
	p := s.start("WATCHDOG_USEC=200000")
	if status := s.hear("READY")["STATUS"]; status != "serving 0 connections" {
		t.Errorf("the status is %q", status)
	}
	s.hear("WATCHDOG")
	s.hear("WATCHDOG")
	ws := s.mustDial()
	if err := echo(ws); err != nil {
		t.Fatal(err)
	}
	if status := s.hear("STATUS")["STATUS"]; status != "serving 1 connection" {
		t.Errorf("the status is %q", status)
	}

	reload := readUnit(t, "deploy/systemd/weir.service")["Service.ExecReload"]
	if len(reload) != 2 || reload[1] != "/bin/kill -HUP $MAINPID" {
		t.Fatalf("ExecReload: %q", reload)
	}
	check := func() error {
		command := strings.Fields(s.here(reload[0], needBinary(t)))
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = environment()
		return cmd.Run()
	}
	s.write("weir.yaml", serverConfig+"reload: signal\n") // from now on it waits to be asked
	if s.hear("RELOADING")["MONOTONIC_USEC"] == "" {
		t.Error("a reload of a changed file has no time")
	}
	s.hear("READY")
	s.write("weir.yaml", serverConfig+"reload: signal\nwebsocket: {max_message_size: 1KiB}\n")
	if err := check(); err != nil {
		t.Errorf("a configuration that is right: %v", err)
	}
	p.signal(syscall.SIGHUP)
	s.hear("RELOADING")
	s.hear("READY")
	s.write("weir.yaml", "nonsense: 1\n")
	if err := check(); err == nil {
		t.Error("a reload of a configuration with a mistake succeeds")
	}
	p.signal(syscall.SIGHUP) // it is ready again also after a refusal
	s.hear("RELOADING")
	s.hear("READY")
	if err := echo(ws); err != nil {
		t.Errorf("after three reloads: %v", err)
	}

	p.signal(syscall.SIGTERM)
	stopping := s.hear("STOPPING")
	if stopping["STATUS"] != "draining: 1 connection to be closed" || stopping["EXTEND_TIMEOUT_USEC"] == "" {
		t.Errorf("it stops with %q", stopping)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the connection ends with %v", err)
	}
	if err := p.wait(); err != nil {
		t.Errorf("%v; it said\n%s", err, p.said)
	}
}

// TestAnUpgradeRefusesNobody replaces the process while clients come one after
// another, each of which connects once.
func TestAnUpgradeRefusesNobody(t *testing.T) {
	const (
		restarts = 3
		clients  = 8 // at once
		resident = 20
		least    = 20 // new connections that each process must serve
	)
	s := newSupervisor(t)
	p := s.start()
	s.hear("READY")

	var served, sentAway atomic.Int64
	more := make(chan struct{}, 1) // capacity 1: that there is more is enough
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { // ends with done
			for {
				select {
				case <-done:
					return
				default:
				}
				ws, err := s.dial()
				if err != nil { // refused, reset, or answered with anything but 101
					t.Errorf("a client is turned away: %v", err)
					return
				}
				switch err := echo(ws); {
				case err == nil:
					served.Add(1)
					_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
					_, _, err = ws.ReadMessage()
					if !websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) {
						t.Errorf("a goodbye is answered with %v", err)
					}
				case websocket.IsCloseError(err, websocket.CloseGoingAway):
					sentAway.Add(1)
				default:
					t.Errorf("a client is cut off: %v", err)
				}
				ws.Close()
				select {
				case more <- struct{}{}:
				default:
				}
			}
		})
	}
	for range restarts {
		var stay sync.WaitGroup
		for range resident {
			ws := s.mustDial()
			stay.Go(func() { // ends with the process that serves it
				if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
					t.Errorf("a connection that was open ends with %v", err)
				}
				ws.Close()
			})
		}
		for before := served.Load(); served.Load() < before+least && !t.Failed(); {
			<-more
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		stay.Wait()
		p = s.start() // the new binary
		s.hear("READY")
	}
	for before := served.Load(); served.Load() < before+least && !t.Failed(); {
		<-more
	}
	close(done)
	wg.Wait()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d clients served, %d sent away with 1001, over %d restarts", served.Load(), sentAway.Load(), restarts)
}

func TestASocketThatNobodyTakesIsAMistake(t *testing.T) {
	s := newSupervisor(t)
	s.write("weir.yaml", strings.Replace(serverConfig, "systemd", `"127.0.0.1:0"`, 1))
	p := s.start()
	err := p.wait()
	if p.cmd.ProcessState.ExitCode() != 2 || !strings.Contains(p.said, "systemd:weir.socket") {
		t.Errorf("%v; it said\n%s", err, p.said)
	}
	s.write("weir.yaml", strings.Replace(serverConfig, "systemd", `"`+s.socket.Addr().String()+`"`, 1))
	p = s.start() // the address is bound already, and the same
	s.hear("READY")
	ws := s.mustDial()
	if err := echo(ws); err != nil {
		t.Error(err)
	}
	ws.Close()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
