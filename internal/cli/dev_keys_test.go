package cli

import (
	"io"
	"testing"
)

func TestTheKeys(t *testing.T) {
	folder := project(t, variant(t, "one"), map[string]string{"scenarios/echo.yaml": `
config: ../weir.yaml
scenarios:
  - name: what is said comes back
    steps:
      - open: {ann: /}
      - send: {ann: {text: hi}}
      - expect: {ann: {text: hi}}
`})
	env := realEnv()
	stdin, terminal := io.Pipe()
	env.Stdin, env.StdinTerminal = stdin, true
	s := serve(t, env, "dev", folder, "--listen", "127.0.0.1:0")
	press := func(key string) {
		t.Helper()
		if _, err := io.WriteString(terminal, key); err != nil {
			t.Fatal(err)
		}
	}
	s.stderr.wait(t, "type ? and Enter for the keys")
	press("?\n")
	s.stderr.wait(t, "q  quit: drain, then stop")
	press("r")
	s.stderr.wait(t, "generation 2 · build ")
	press("l")
	s.stderr.wait(t, "log level WARN")
	press("lll")
	s.stderr.wait(t, "log level INFO")
	press("t")
	s.stdout.wait(t, "1 passed")
	press("cx")
	press("r")
	s.stderr.wait(t, "generation 3 · build ")
	if s.count(clearScreen) != 1 {
		t.Error("the screen was not cleared")
	}
	press("q")
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
	terminal.Close()
}

func TestTheEndOfTheKeysIsNotTheEnd(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	env := realEnv()
	stdin, terminal := io.Pipe()
	env.Stdin, env.StdinTerminal = stdin, true
	s := serve(t, env, "dev", folder, "--listen", "127.0.0.1:0")
	terminal.Close()
	save(t, folder, "handler.src", variant(t, "two"))
	s.stderr.wait(t, "generation 2 · ")
	s.stopped()
}
