//go:build unix

// Package browser tests what only a browser can show: the demo's page in
// Chromium, against the real binary.
package browser

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A whole run takes some seconds; the bound only ends one that hangs.
const patience = 2 * time.Minute

func TestTwoPagesChat(t *testing.T) {
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
	url, stop := startDemo(ctx, t, weir)
	screenshots := t.TempDir()
	out, err := exec.CommandContext(ctx, node, "chat.mjs", url, chromium, screenshots).CombinedOutput()
	if err != nil {
		t.Errorf("chat.mjs: %v", err)
	}
	t.Logf("chat.mjs:\n%s", out)
	if shots, err := filepath.Glob(filepath.Join(screenshots, "*.png")); err != nil || len(shots) != 2 {
		t.Errorf("got %d screenshots (%v), want one a page", len(shots), err)
	}
	stop()
}

// tool finds a program, or skips the test; where tools are required, fails it.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name, "make tools")
	}
	return path
}

func missing(t *testing.T, what, cure string) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
		t.Fatalf("needs %s: %s", what, cure)
	}
	t.Skipf("needs %s: %s", what, cure)
}

var address = regexp.MustCompile(`http://[^\s/]+/`)

// startDemo runs the binary's demo on a free port until stop, which also checks
// that it ends in order.
func startDemo(ctx context.Context, t *testing.T, weir string) (url string, stop func()) {
	t.Helper()
	cmd := exec.CommandContext(ctx, weir, "demo", "--listen", "127.0.0.1:0", "--log-format", "text")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WEIR_") { // those are configuration
			cmd.Env = append(cmd.Env, v)
		}
	}
	var log strings.Builder
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url = address.FindString(line)
	if url == "" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("weir demo printed %q (%v) and logged\n%s", line, err, log.String())
	}
	return url, func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, stdout) // Wait closes the pipe; read it dry before
		if err := cmd.Wait(); err != nil {
			t.Errorf("weir demo ended with %v and logged\n%s", err, log.String())
		}
	}
}
