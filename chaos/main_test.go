package chaos

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

const root = ".."

var (
	workFolder string
	update     = flag.Bool("update", false, "compile the modules in testdata anew")
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if workFolder, err = os.MkdirTemp("", "weir-chaos"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(workFolder)
		os.Exit(code)
	}))
}

// needBinary returns the path of the server, which the first call builds.
func needBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this starts servers and takes most of a minute")
	}
	if raceEnabled {
		t.Skip("-race: the server is a binary of its own, into which the detector does not see")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system has no /proc, by which the server is watched")
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	// go test remembers a pass until a file that the test has looked at changes, and what go build reads it does not
	// see. So look at all folders with source.
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != root) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(workFolder, "weir")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{err, string(said)}
	}
	return path, nil
})

type buildError struct {
	err  error
	said string
}

func (e *buildError) Error() string { return "go build: " + e.err.Error() + "\n" + e.said }

// needTool finds a program that only some tests need. Where all tools must be there it fails without it, else it skips.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("WEIR_REQUIRE_TOOLS") == "1":
		t.Fatalf("%s is not installed", name)
	default:
		t.Skipf("%s is not installed", name)
	}
	return path
}
