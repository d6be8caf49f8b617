package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheAdminListenerTellsOfTheServer(t *testing.T) {
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", echoModule)
	line := s.stderr.wait(t, "metrics and health are served")
	admin := regexp.MustCompile(`http://[0-9.:]+`).FindString(line)
	if status, body := get(t, admin+"/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	ws := s.dial("/")
	echo(t, ws, "hello")
	ws.Close() // else the drain waits for it
	if _, body := get(t, admin+"/metrics"); !strings.Contains(body, "\nweir_messages_received_total 1\n") ||
		!strings.Contains(body, `weir_handler_duration_seconds_count{module="echo",generation="1"} 1`) {
		t.Errorf("the message is not counted:\n%s", body)
	}
	if status, _ := get(t, s.url+"/metrics"); status == 200 {
		t.Error("the figures are served to everybody")
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(admin, "http://")); err == nil {
		conn.Close()
		t.Error("it still listens after the end")
	}
}

func TestAnAdminAddressThatIsTakenEndsTheStart(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var stderr bytes.Buffer
	code := Run(context.Background(), Env{
		Args:   []string{"serve", "--listen", "127.0.0.1:0", "--set", "admin.listen=" + ln.Addr().String(), echoModule},
		Stderr: &stderr, Stdout: &stderr, ReadFile: os.ReadFile,
	})
	if code != exitBind || !strings.Contains(stderr.String(), "admin.listen: ") {
		t.Errorf("exit code %d, want %d; it said\n%s", code, exitBind, &stderr)
	}
}
