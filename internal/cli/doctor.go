package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/host"
	"weir/internal/admin"
	"weir/runtime"
)

const doctorLong = `Looks at this machine: which languages handlers can be written in here, what is missing
for the others and how to get it, and what the machine lets a server have. Where --admin or
the configuration here (admin.listen) names a server, it says how that one is, too.

-o json prints {"languages": […], "system": {…}, "server": {…}}; whatever cannot be used has a
"problem" and its "cure". Exit codes: 0 at least one language can be built, 1 none can.`

// tool is something that a language is built with.
type tool struct {
	part     string   // what it is, of a tool that check finds
	programs []string // the first that is there is used
	version  []string // arguments that make it print its version
	cure     cures    // how to get it

	// check finds a tool that is not just a program in the PATH; nil: it is one.
	check func(ctx context.Context, env *Env) (version, path string, err error)
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

// maxProbe bounds how long a tool may take to tell what it is.
const maxProbe = 10 * time.Second

// diagnosis is what `weir doctor -o json` prints; the keys stay as they are.
type diagnosis struct {
	Languages []languageDiagnosis `json:"languages"`
	System    systemDiagnosis     `json:"system"`
	Server    *serverDiagnosis    `json:"server,omitempty"` // null: none is named here
}

// serverDiagnosis is how the server is that the configuration names.
type serverDiagnosis struct {
	Admin   string        `json:"admin"`             // its admin address
	Status  *admin.Status `json:"status,omitempty"`  // null when it does not tell
	Problem string        `json:"problem,omitempty"` // empty when all is well
	Cure    string        `json:"cure,omitempty"`
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
	OS     string           `json:"os"`
	Arch   string           `json:"arch"`
	CPUs   int              `json:"cpus"`
	Go     string           `json:"go"` // that weir was built with
	Checks []checkDiagnosis `json:"checks"`
}

// checkDiagnosis is one thing that a server needs of the machine.
type checkDiagnosis struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Problem string `json:"problem,omitempty"` // empty when it does for a server with weir's defaults
	Cure    string `json:"cure,omitempty"`
}

func newDoctor(env *Env) *cobra.Command {
	var form string
	var f adminFlags
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
			if err := d.lookAtServer(cmd.Context(), env, &f); err != nil {
				return err
			}
			if form == "json" {
				e := json.NewEncoder(env.Stdout)
				e.SetIndent("", "  ")
				if err := e.Encode(d); err != nil {
					return err
				}
			} else {
				fmt.Fprint(env.Stdout, d)
			}
			return d.verdict()
		},
	}
	f.registerReach(cmd.Flags())
	cmd.Flags().StringVarP(&form, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}

// lookAtServer asks the server how it is, if one is named. What is wrong with it is
// part of the diagnosis; the error is one of usage.
func (d *diagnosis) lookAtServer(ctx context.Context, env *Env, f *adminFlags) error {
	c, err := f.reach(env)
	if err != nil {
		if f.address != "" || f.tokenFile != "" || len(f.source.files) > 0 {
			return err
		}
		return nil // no server is named, or `weir config check` says what is wrong
	}
	d.Server = &serverDiagnosis{Admin: c.shown}
	ctx, stop := untilSignal(ctx, env)
	defer stop()
	var s admin.Status
	if err := c.get(ctx, "status", "/v1/status", nil, &s); err != nil {
		if isStopped(err) {
			return err
		}
		_, why, _ := strings.Cut(err.Error(), ": ")
		d.Server.Problem, d.Server.Cure, _ = strings.Cut(why, "; ")
		return nil
	}
	d.Server.Status = &s
	switch {
	case s.Draining:
		d.Server.Problem, d.Server.Cure = "it drains", "it ends when its connections have"
	case !s.Ready:
		d.Server.Problem, d.Server.Cure = "it is not ready", "`weir logs` says what it does"
	case len(s.Config.Problems) > 0:
		d.Server.Problem = "the last reload of its configuration was refused: " + strings.Join(s.Config.Problems, "; ")
		d.Server.Cure = "`weir config check` says what is wrong, `weir config reload` tries again"
	case len(s.Config.Kept) > 0:
		d.Server.Problem = "its configuration has changed in what needs a restart: " + strings.Join(s.Config.Kept, ", ")
		d.Server.Cure = "restart it"
	}
	d.forgiveListen(&s)
	return nil
}

// forgiveListen takes back that an address is taken when the server has it.
func (d *diagnosis) forgiveListen(s *admin.Status) {
	for i, c := range d.System.Checks {
		if c.Name != "listen" || c.Problem == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(c.Value); err == nil && slices.ContainsFunc(s.Listen, func(has string) bool { return strings.HasSuffix(has, ":"+port) }) {
			d.System.Checks[i] = checkDiagnosis{Name: c.Name, Value: c.Value + ", which the running server has"}
		}
	}
}

// diagnose looks at everything. A tool that does not answer is a problem of its
// own and of nothing else.
func diagnose(ctx context.Context, env *Env) diagnosis {
	var d diagnosis
	for _, l := range languages() {
		one := languageDiagnosis{Name: l.name, Title: l.title, Ready: true}
		for _, t := range l.tools {
			found := t.diagnose(ctx, env)
			one.Ready = one.Ready && found.Problem == ""
			one.Tools = append(one.Tools, found)
		}
		d.Languages = append(d.Languages, one)
	}
	server := host.Options{}.WithDefaults().Server
	d.System = systemDiagnosis{
		OS: goruntime.GOOS, Arch: goruntime.GOARCH, CPUs: goruntime.NumCPU(), Go: goruntime.Version(),
		Checks: []checkDiagnosis{
			checkConnections(server.MaxConnections),
			{Name: "guest memory", Value: sizeText(int(runtime.DefaultGuestBudgetBytes())) + " for all handlers together"},
			checkCache(env),
			checkListen(ctx, server.Listen[0]),
		},
	}
	for _, k := range kernelLimits {
		if c, ok := k.check(env); ok {
			d.System.Checks = append(d.System.Checks, c)
		}
	}
	return d
}

// maxConnections is what a server takes where the system lets it.
const maxConnections = 65_536

func checkConnections(most int) checkDiagnosis {
	d := checkDiagnosis{Name: "connections", Value: fmt.Sprintf("up to %d", most)}
	if most < maxConnections {
		d.Problem = "the limit of open files allows no more"
		d.Cure = fmt.Sprintf("ulimit -Hn %[1]d as root, or LimitNOFILE=%[1]d in a unit of systemd", maxConnections+64)
	}
	return d
}

// checkCache looks whether compiled modules can be kept.
func checkCache(env *Env) checkDiagnosis {
	d := checkDiagnosis{Name: "cache", Cure: "without it, modules are compiled at every start"}
	if env.CacheDir == "" {
		d.Problem = "the system names no folder for it"
		return d
	}
	d.Value = filepath.Join(env.CacheDir, "weir")
	probe := filepath.Join(d.Value, fmt.Sprintf(".doctor.%08x.tmp", rand.Uint32()))
	err := errors.Join(env.MkdirAll(d.Value, 0o700), env.WriteFile(probe, nil, 0o600))
	if err != nil {
		d.Problem = err.Error()
		return d
	}
	_ = env.Remove(probe) // it is empty
	d.Cure = ""
	return d
}

// checkListen looks whether a server could have the address.
func checkListen(ctx context.Context, address string) checkDiagnosis {
	d := checkDiagnosis{Name: "listen", Value: address}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		d.Problem, d.Cure = err.Error(), "weir serve --listen ADDRESS takes another"
		return d
	}
	_ = listener.Close() // nobody has come
	return d
}

// kernelLimit is a setting of Linux that holds a server back when it is small.
type kernelLimit struct {
	name    string // as sysctl takes it
	least   int
	problem string
}

var kernelLimits = []kernelLimit{
	{"net.core.somaxconn", 4096, "of many clients that come at once, some are refused"},
	{"vm.max_map_count", 65_530, "there can be fewer instances of handlers"},
}

// check reports whether the system has such a setting, and what it is.
func (k kernelLimit) check(env *Env) (checkDiagnosis, bool) {
	text, err := env.ReadFile("/proc/sys/" + strings.ReplaceAll(k.name, ".", "/"))
	if err != nil {
		return checkDiagnosis{}, false
	}
	d := checkDiagnosis{Name: k.name, Value: strings.TrimSpace(string(text))}
	n, err := strconv.Atoi(d.Value)
	if err == nil && n < k.least {
		d.Problem, d.Cure = k.problem, fmt.Sprintf("sysctl -w %s=%d", k.name, k.least)
	}
	return d, err == nil
}

// errNoLanguage is the verdict on a machine where nothing can be built.
var errNoLanguage = errors.New("no language can be built here; `weir serve` needs none of them")

func (d diagnosis) verdict() error {
	if slices.ContainsFunc(d.Languages, func(l languageDiagnosis) bool { return l.Ready }) {
		return nil
	}
	return errNoLanguage
}

func (t tool) diagnose(ctx context.Context, env *Env) toolDiagnosis {
	ctx, cancel := context.WithTimeout(ctx, maxProbe)
	defer cancel()
	d := toolDiagnosis{Name: t.part}
	var err error
	if t.check != nil {
		d.Version, d.Path, err = t.check(ctx, env)
	} else {
		var name, path string
		d.Name = t.programs[0]
		if name, path, err = findProgram(env, t.programs); err == nil {
			d.Name, d.Path = name, path
			d.Version, err = ask(ctx, env, path, t.version)
		}
	}
	if err != nil {
		d.Problem, d.Cure = err.Error(), t.cure.here(env)
	}
	return d
}

// ask is the first line that a program prints.
func ask(ctx context.Context, env *Env, path string, args []string) (string, error) {
	said := &firstBytes{room: maxCompilerText}
	cmd := exec.CommandContext(ctx, path, args...)
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
	fmt.Fprintf(&b, "\n%s/%s, %d CPUs; weir was built with %s\n", s.OS, s.Arch, s.CPUs, s.Go)
	for _, c := range s.Checks {
		fmt.Fprintf(&b, "           %-18s %s\n", c.Name, c.Value)
		if c.Problem != "" {
			fmt.Fprintf(&b, "           %-18s %s: %s\n", "", c.Problem, c.Cure)
		}
	}
	if d.Server != nil {
		d.Server.write(&b)
	}
	return b.String()
}

func (d *serverDiagnosis) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nserver at %s\n", d.Admin)
	line := func(name, text string) { fmt.Fprintf(b, "           %-18s %s\n", name, text) }
	if s := d.Status; s != nil {
		line("version", s.Version)
		line("state", stateOf(*s).text)
		line("connections", strconv.Itoa(s.Connections))
		line("modules", strings.Join(s.Modules, ", "))
	}
	if d.Problem != "" {
		line("problem", printable(d.Problem))
		line("", d.Cure)
	}
}
