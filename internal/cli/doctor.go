package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/host"
)

const doctorLong = `Looks at this machine: which languages handlers can be written in here, what is missing
for the others and how to get it, and how much a server may open.

Exit codes: 0 at least one language can be built, 1 none can.`

// tool is something that a language is built with.
type tool struct {
	programs []string // the first that is there is used
	version  []string // arguments that make it print its version
	cure     cures    // how to get it

	// check says what else there has to be, such as a library; nil: nothing.
	check func(env *Env) error
}

// cures say how to get a tool: on Debian and Ubuntu, on macOS, and elsewhere.
// Those that are empty are as elsewhere.
type cures struct{ any, debian, darwin string }

// here is the one for this machine.
func (c cures) here(env *Env) string {
	if goruntime.GOOS == "darwin" && c.darwin != "" {
		return c.darwin
	}
	if _, err := env.LookPath("apt-get"); err == nil && c.debian != "" {
		return c.debian
	}
	return c.any
}

// maxProbe bounds how long a tool may take to tell its version.
const maxProbe = 10 * time.Second

// diagnosis is what `weir doctor -o json` prints; the keys stay as they are.
type diagnosis struct {
	Languages []languageDiagnosis `json:"languages"`
	System    systemDiagnosis     `json:"system"`
}

type languageDiagnosis struct {
	Name  string          `json:"name"` // as --lang takes it
	Title string          `json:"title"`
	Ready bool            `json:"ready"`
	Tools []toolDiagnosis `json:"tools"`
}

type toolDiagnosis struct {
	Name    string `json:"name"`
	Path    string `json:"path,omitempty"`
	Version string `json:"version,omitempty"`
	Problem string `json:"problem,omitempty"` // empty when it can be used
	Cure    string `json:"cure,omitempty"`
}

type systemDiagnosis struct {
	OS             string `json:"os"`
	Arch           string `json:"arch"`
	CPUs           int    `json:"cpus"`
	MaxConnections int    `json:"max_connections"`     // that a server takes by default
	CacheDir       string `json:"cache_dir,omitempty"` // for compiled modules
	Problem        string `json:"problem,omitempty"`   // with the cache
}

func newDoctor(env *Env) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "say what works on this machine, and how to get the rest",
		Long:    doctorLong,
		Example: "  weir doctor\n  weir doctor -o json",
		GroupID: "run",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form != "text" && form != "json" {
				return usage("-o %s: write text or json", form)
			}
			d := diagnose(cmd.Context(), env)
			if form == "json" {
				e := json.NewEncoder(env.Stdout)
				e.SetIndent("", "  ")
				if err := e.Encode(d); err != nil {
					return err
				}
			} else {
				fmt.Fprint(env.Stdout, d)
			}
			for _, l := range d.Languages {
				if l.Ready {
					return nil
				}
			}
			return errors.New("no language can be built here; `weir serve` needs none of them")
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}

// diagnose looks at everything. A tool that does not answer is a problem of its
// own and of nothing else.
func diagnose(ctx context.Context, env *Env) diagnosis {
	d := diagnosis{System: systemDiagnosis{
		OS: goruntime.GOOS, Arch: goruntime.GOARCH, CPUs: goruntime.NumCPU(),
		MaxConnections: host.Options{}.WithDefaults().Server.MaxConnections,
	}}
	if env.CacheDir == "" {
		d.System.Problem = "the system names no folder for caches: modules are compiled at every start"
	} else {
		d.System.CacheDir = filepath.Join(env.CacheDir, "weir")
		if err := env.MkdirAll(d.System.CacheDir, 0o700); err != nil {
			d.System.Problem = err.Error()
		}
	}
	for _, l := range languages() {
		one := languageDiagnosis{Name: l.name, Title: l.title, Ready: true}
		for _, t := range l.tools {
			found := t.diagnose(ctx, env)
			one.Ready = one.Ready && found.Problem == ""
			one.Tools = append(one.Tools, found)
		}
		d.Languages = append(d.Languages, one)
	}
	return d
}

func (t tool) diagnose(ctx context.Context, env *Env) toolDiagnosis {
	d := toolDiagnosis{Name: t.programs[0]}
	name, path, err := findProgram(env, t.programs)
	if err == nil {
		d.Name, d.Path = name, path
		d.Version, err = t.ask(ctx, env, path)
	}
	if err == nil && t.check != nil {
		err = t.check(env)
	}
	if err != nil {
		d.Problem, d.Cure = err.Error(), t.cure.here(env)
	}
	return d
}

// ask is the first line of what the tool says of its version.
func (t tool) ask(ctx context.Context, env *Env, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, maxProbe)
	defer cancel()
	said := &firstBytes{room: maxCompilerText}
	cmd := exec.CommandContext(ctx, path, t.version...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env.Environ, said, said
	cmd.WaitDelay = time.Second
	if err := env.Exec(cmd); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(said.Bytes()), []byte("\n"))
	return strings.TrimSpace(string(line)), nil
}

// String is the diagnosis for people.
func (d diagnosis) String() string {
	var b strings.Builder
	for _, l := range d.Languages {
		mark := "ready  "
		if !l.Ready {
			mark = "missing"
		}
		fmt.Fprintf(&b, "%s  %-15s --lang %s\n", mark, l.Title, l.Name)
		for _, t := range l.Tools {
			if t.Problem == "" {
				fmt.Fprintf(&b, "           %-12s %s\n", t.Name, strings.Trim(t.Version+" · "+t.Path, " ·"))
				continue
			}
			fmt.Fprintf(&b, "           %-12s %s\n", t.Name, t.Problem)
			fmt.Fprintf(&b, "           %-12s get it: %s\n", "", t.Cure)
		}
	}
	s := d.System
	fmt.Fprintf(&b, "\n%s/%s, %d CPUs; a server takes up to %d connections (ulimit -n)\n", s.OS, s.Arch, s.CPUs, s.MaxConnections)
	switch {
	case s.Problem != "":
		fmt.Fprintf(&b, "compiled modules are not kept: %s\n", s.Problem)
	default:
		fmt.Fprintf(&b, "compiled modules are kept in %s\n", s.CacheDir)
	}
	return b.String()
}
