package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/host"
)

// unit is a unit file: the values of each key, in order (systemd.syntax(7)).
type unit map[string][]string

func readUnit(t *testing.T, file string) unit {
	t.Helper()
	u := unit{}
	section := ""
	for line := range strings.Lines(read(t, file)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]") + "."
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s: %q is no setting of a section", file, line)
			}
			u[section+key] = append(u[section+key], value)
		}
	}
	return u
}

// one is the value of a key that must be there once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s is there %d times", key, len(u[key]))
	}
	return u[key][0]
}

func TestTheUnitFitsTheServer(t *testing.T) {
	u := readUnit(t, "deploy/systemd/weir.service")
	drain := host.Options{}.WithDefaults().Drain.Timeout
	stop, err := strconv.Atoi(u.one(t, "Service.TimeoutStopSec"))
	if err != nil || time.Duration(stop)*time.Second < drain+10*time.Second {
		t.Errorf("TimeoutStopSec=%s leaves no time for a drain of %v", u.one(t, "Service.TimeoutStopSec"), drain)
	}
	for key, want := range map[string]string{
		"Service.Type":                  "notify",
		"Service.LimitNOFILE":           "1048576",
		"Service.NoNewPrivileges":       "yes",
		"Service.ProtectSystem":         "strict",
		"Service.DynamicUser":           "yes",
		"Service.CapabilityBoundingSet": "",
		"Service.OOMPolicy":             "continue",
		// The exit code of a mistake in the configuration.
		"Service.RestartPreventExitStatus": "2",
	} {
		if got := u.one(t, key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	if _, ok := u["Service.MemoryDenyWriteExecute"]; ok {
		t.Error("MemoryDenyWriteExecute: what the compiler makes could not run")
	}
	if got := readUnit(t, "deploy/systemd/weir.socket").one(t, "Socket.ListenStream"); got != "8080" {
		t.Errorf("the socket is %q, and everything that is written names 8080", got)
	}
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze (Debian: systemd)")
	}
	folder := t.TempDir()
	fake := filepath.Join(folder, "weir")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range []string{"weir.service", "weir.socket"} {
		text := strings.ReplaceAll(read(t, "deploy/systemd/"+name), "/usr/bin/weir", fake)
		text = strings.ReplaceAll(text, "Documentation=", "#") // man pages are looked for
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	said, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, said)
	}
	// The level of exposure, of 100; 14 as the units are.
	said, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", files[0]).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, said)
	}
}
