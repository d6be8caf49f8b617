//go:build unix

package browser

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A browser offers permessage-deflate by itself.
func TestABrowserCompresses(t *testing.T) {
	node := tool(t, "node")
	chromium := tool(t, "chromium")
	if _, err := os.Stat("node_modules/playwright-core/package.json"); err != nil {
		missing(t, "playwright-core", "npm ci in test/browser")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", weir, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for takeover, agreed := range map[string]string{
		"false": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"true":  "permessage-deflate; client_max_window_bits=12",
	} {
		t.Run("context_takeover "+takeover, func(t *testing.T) {
			url, stop := startEcho(ctx, t, weir, "--set", "server.allowed_origins=*", "--set", "websocket.max_message_size=1MiB",
				"--set", "websocket.compression=on", "--set", "websocket.deflate.context_takeover="+takeover)
			var said, complaint bytes.Buffer
			cmd := exec.CommandContext(ctx, node, "deflate.mjs", url, chromium)
			cmd.Stdout, cmd.Stderr = &said, &complaint
			if err := cmd.Run(); err != nil || strings.TrimSpace(said.String()) != agreed {
				t.Errorf("the browser agreed on %q, want %q; %v\n%s", said.String(), agreed, err, complaint.String())
			}
			stop()
		})
	}
}

// startEcho serves echoes on a free port until stop, which also checks that the
// server ends in order.
func startEcho(ctx context.Context, t *testing.T, weir string, flags ...string) (url string, stop func()) {
	t.Helper()
	cmd := exec.CommandContext(ctx, weir, append([]string{"serve", "--listen", "127.0.0.1:0"}, append(flags, "../../examples/echo-c/echo.wasm")...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WEIR_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(log)
	for url == "" {
		line, err := lines.ReadString('\n')
		if _, at, ok := strings.Cut(line, `"url":"`); ok {
			url, _, _ = strings.Cut(at, `"`)
		}
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("weir serve does not listen: %v, %q", err, line)
		}
	}
	return url, func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, lines)
		if err := cmd.Wait(); err != nil {
			t.Errorf("weir serve ended with %v", err)
		}
	}
}
