package cli

import (
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// versionInfo is what `weir version -o json` prints; the keys stay as they are.
type versionInfo struct {
	Version  string `json:"version"`            // of the module; "(devel)" when built from a work tree
	Revision string `json:"revision,omitempty"` // commit
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // the work tree differed from the commit
	ABI      int    `json:"abi"`                // of guests
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

const guestABI = 1

func newVersion(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the version",
		GroupID: "other",
		Args:    atMost(0),
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			v := readVersion(info)
			switch output {
			case "json":
				return json.NewEncoder(env.Stdout).Encode(v)
			case "text":
				_, err := fmt.Fprintln(env.Stdout, v)
				return err
			}
			return usage("-o %s: write text or json", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}

// readVersion takes info apart; nil gives what the process knows of itself.
func readVersion(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: "(devel)", ABI: guestABI, Go: goruntime.Version(), OS: goruntime.GOOS, Arch: goruntime.GOARCH}
	if info == nil {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is one line: weir v1.2.3 · 0123456789ab of 2026-01-02 · guest ABI 1 · go1.26 linux/amd64.
func (v versionInfo) String() string {
	parts := []string{"weir " + v.Version}
	if v.Revision != "" {
		commit := v.Revision[:min(12, len(v.Revision))]
		if date, _, ok := strings.Cut(v.Time, "T"); ok {
			commit += " of " + date
		}
		if v.Modified {
			commit += ", modified"
		}
		parts = append(parts, commit)
	}
	return strings.Join(append(parts, fmt.Sprintf("guest ABI %d", v.ABI), fmt.Sprintf("%s %s/%s", v.Go, v.OS, v.Arch)), " · ")
}
