// Package deploy tests what is shipped: that the systemd units start the real binary
// as they say, that it is replaced without a refused connection, and that packages
// and image hold what belongs into them.
package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const root = "../.."

// patience bounds every wait. It is far above what anything takes, and ends a test
// that would hang.
const patience = time.Minute

var workFolder string

func TestMain(m *testing.M) {
	var err error
	if workFolder, err = os.MkdirTemp("", "weir-deploy"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(workFolder)
		os.Exit(code)
	}))
}

// needBinary returns the path of weir, which the first call builds.
func needBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this builds and starts the server")
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
		if err == nil && d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root) {
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

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
