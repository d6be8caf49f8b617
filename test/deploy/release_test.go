//go:build linux

package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	guestsdk "weir/guest-sdk"
)

// TestARelease makes one for this system, twice.
func TestARelease(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("-short or -race: this builds the binary and its packages")
	}
	nfpm, err := filepath.Abs(filepath.Join(root, "bin", "nfpm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(nfpm); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("there is no bin/nfpm; make tools installs it")
		}
		t.Skip("there is no bin/nfpm; make tools installs it")
	}
	engine, hasEngine := guestsdk.Engine()
	release := func() string {
		folder := filepath.Join(t.TempDir(), "dist")
		cmd := exec.Command(filepath.Join(root, "deploy", "release"), folder)
		cmd.Env = append(os.Environ(), "TARGETS=linux/"+goruntime.GOARCH, "NFPM="+nfpm)
		if !hasEngine {
			cmd.Env = append(cmd.Env, "WITHOUT_JS=1")
		}
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return folder
	}
	folder := release()
	sums, again := sumsOf(t, folder), sumsOf(t, release())
	if sums != again {
		t.Errorf("the second time it is another:\n%s\n%s", sums, again)
	}
	files := strings.Fields(sums)
	if len(files) != 2*3 {
		t.Fatalf("it has %q", files)
	}
	find := func(pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		return found[0]
	}

	t.Run("the archive", func(t *testing.T) {
		f, err := os.Open(find("weir_*_linux_" + goruntime.GOARCH + ".tar.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		all := untar(t, z)
		top := strings.TrimSuffix(filepath.Base(f.Name()), ".tar.gz")
		for _, name := range []string{"LICENSE", "NOTICE", "THIRD-PARTY", "completions/_weir", "completions/weir.bash", "completions/weir.fish", "man/weir.1", "man/weir-serve.1"} {
			if len(all[top+"/"+name]) == 0 {
				t.Errorf("%s is missing", name)
			}
		}
		if !bytes.Contains(all[top+"/THIRD-PARTY"], []byte("=== github.com/tetratelabs/wazero v")) {
			t.Error("THIRD-PARTY lacks the licence of wazero")
		}
		binary := all[top+"/weir"]
		if hasEngine && !bytes.Contains(binary, engine) {
			t.Error("the binary lacks the engine for JavaScript")
		}
		program := filepath.Join(t.TempDir(), "weir")
		if err := os.WriteFile(program, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		said, err := exec.Command(program, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(said), "weir v") {
			t.Errorf("weir version: %v, %s", err, said)
		}
	})

	t.Run("the deb", func(t *testing.T) {
		if _, err := exec.LookPath("dpkg"); err != nil {
			t.Skip("there is no dpkg, which installs it")
		}
		deb := find("weir_*.deb")
		system := t.TempDir()
		for _, name := range []string{"updates", "info"} {
			if err := os.MkdirAll(filepath.Join(system, "var/lib/dpkg", name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(system, "var/lib/dpkg/status"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		install := func() {
			t.Helper()
			cmd := exec.Command("dpkg", "--root="+system, "--force-not-root", "--force-script-chrootless", "--force-architecture", "--log=/dev/null", "-i", deb)
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", cmd.Args, err, said)
			}
		}
		install()
		for _, name := range []string{
			"usr/bin/weir", "usr/lib/systemd/system/weir.service", "usr/lib/systemd/system/weir.socket", "usr/share/weir/chat.wasm",
			"usr/share/man/man1/weir-serve.1.gz", "usr/share/bash-completion/completions/weir", "usr/share/doc/weir/copyright",
		} {
			if info, err := os.Stat(filepath.Join(system, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The configuration is right as it comes, and an upgrade keeps the operator's.
		config := filepath.Join(system, "etc/weir/weir.yaml")
		check := exec.Command(filepath.Join(system, "usr/bin/weir"), "config", "check", config)
		check.Env = environment()
		if said, err := check.CombinedOutput(); err != nil {
			t.Errorf("weir config check: %v\n%s", err, said)
		}
		const mine = "# mine\n"
		if err := os.WriteFile(config, []byte(mine), 0o644); err != nil {
			t.Fatal(err)
		}
		install()
		if got, err := os.ReadFile(config); string(got) != mine {
			t.Errorf("after an upgrade the configuration is %q, %v", got, err)
		}
	})

	t.Run("the rpm", func(t *testing.T) { // to look into it takes rpm
		p, err := os.ReadFile(find("weir-*.rpm"))
		if err != nil || !bytes.HasPrefix(p, []byte{0xED, 0xAB, 0xEE, 0xDB}) {
			t.Errorf("it begins with % x, %v", p[:min(len(p), 4)], err)
		}
	})
}

// sumsOf checks SHA256SUMS and returns it.
func sumsOf(t *testing.T, folder string) string {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		p, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(p); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s has another sum", name)
		}
		names = append(names, name)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(append(names, "SHA256SUMS"), e.Name()) {
			t.Errorf("%s has no sum", e.Name())
		}
	}
	return string(sums)
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s belongs to %d:%d and has mode %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
		if all[path.Clean(h.Name)], err = io.ReadAll(files); err != nil {
			t.Fatal(err)
		}
	}
}
