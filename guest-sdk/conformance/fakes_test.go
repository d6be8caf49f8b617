package conformance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need finds one of the programs, or skips the test by name.
func need(t *testing.T, programs ...string) string {
	t.Helper()
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
		t.Fatalf("needs %v: make tools", programs)
	}
	t.Skipf("needs one of %v: make tools", programs)
	return ""
}

// The fakes of Go, Rust and AssemblyScript are held to vectors.txt by the tests of their SDKs.

func TestTheFakeOfJavaScriptPassesTheVectors(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("it builds weir, which takes types away for Node")
	}
	node := need(t, "node")
	register, err := filepath.Abs("../js/testing/register.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"ts", "../../examples/chat-ts"} {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			cmd := exec.Command(node, "--import", register, "--test")
			cmd.Dir = folder
			cmd.Env = append(withoutWeir(), "WEIR="+weir(t))
			if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("# tests 0")) {
				t.Errorf("node --test: %v\n%s", err, out)
			}
		})
	}
}

func TestTheFakeOfCPassesTheVectors(t *testing.T) {
	compiler := need(t, "cc", "gcc", "clang", "clang-14")
	for _, tc := range []struct {
		name  string
		flags []string
	}{
		{"optimized", []string{"-O2"}},
		{"with sanitizers", []string{"-g", "-fsanitize=address,undefined"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "vectors")
			args := append([]string{"-std=c11", "-Wall", "-Wextra", "-Werror", "-I", "../c", "-o", program, "c/vectors_test.c"}, tc.flags...)
			if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", compiler, err, out)
			}
			cmd := exec.Command(program, "vectors.txt")
			cmd.Env = append(os.Environ(), "ASAN_OPTIONS=detect_leaks=0") // the runner keeps its words
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("scenarios")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
