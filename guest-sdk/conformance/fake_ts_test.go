package conformance

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The fake of TypeScript is held to vectors.txt, and the examples to their own tests, in Node with nothing installed.
func TestTheFakeOfTypeScriptPassesTheVectors(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("Node runs it, and what the race detector looks for is elsewhere")
	}
	node := need(t, "node")
	cmd := exec.Command(node, "--import", "../js/testing/register.mjs", "--test", "ts", "../../examples/chat-ts")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") }), "WEIR="+weir(t))
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("# fail 0")) || bytes.Contains(out, []byte("# tests 0")) {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}
