package cli

import (
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/internal/config"
)

// Env is the world of one command.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer // data
	Stderr  io.Writer // words for people, and the log
	Environ []string  // "NAME=value"
	// Pid is this process, as the supervisor knows it that may have passed sockets
	// (Environ). 0: it has not.
	Pid int
	// Terminal says that Stderr is a terminal; the log is text then.
	Terminal bool
	// StdoutTerminal says that Stdout is one; tables have colours then.
	StdoutTerminal bool
	// Signals delivers what asks the process to stop. The first one drains, the
	// second one ends at once. nil means that none come.
	Signals <-chan os.Signal
	// Hangups delivers what asks a server to read its files again (SIGHUP). nil
	// means that none come.
	Hangups <-chan os.Signal
	// StdinTerminal says that Stdin is a terminal: somebody types.
	StdinTerminal bool
	// ReadFile reads configuration files and modules.
	ReadFile func(name string) ([]byte, error)
	// The rest of the file system, as package os has it. Only commands that make
	// something need it.
	ReadDir   func(name string) ([]fs.DirEntry, error)
	MkdirAll  func(name string, mode fs.FileMode) error
	WriteFile func(name string, data []byte, mode fs.FileMode) error
	Rename    func(from, to string) error
	Remove    func(name string) error
	// CacheDir is a folder of the user's own for what can be made again. Empty: there
	// is none.
	CacheDir string
	// LookPath finds a program, or says exec.ErrNotFound.
	LookPath func(program string) (string, error)
	// Exec runs a program until it ends.
	Exec func(*exec.Cmd) error
	// Browse opens a page in the user's browser. nil means that there is none.
	Browse func(url string) error
}

// Run executes one command and returns its exit code. ctx ends a server as a
// first signal does.
func Run(ctx context.Context, env Env) int {
	root := newRoot(&env)
	root.SetArgs(append([]string{}, goFlags(env.Args)...)) // nil would mean os.Args
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return report(env.Stderr, root.ExecuteContext(ctx))
}

const rootLong = `weir is a WebSocket server that you program in WebAssembly.

See it work:        weir demo
Write a handler:    weir new chat --lang go
Test it:            weir test
Serve a handler:    weir serve handler.wasm
Serve a whole site: weir serve --config weir.yaml
Look after it:      weir status`

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "a WebSocket server that you program in WebAssembly",
		Long:          rootLong,
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), "`weir help` lists the commands")
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		name, isUnknown := strings.CutPrefix(err.Error(), "unknown flag: ")
		if !isUnknown {
			return usage("%w; see `%s --help`", err, cmd.CommandPath())
		}
		var flags []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) })
		return unknown("flag", name, flags, "see `"+cmd.CommandPath()+" --help`")
	})
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start here:"},
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "operate", Title: "Operate a server that runs:"},
		&cobra.Group{ID: "clients", Title: "Clients:"},
		&cobra.Group{ID: "other", Title: "Other:"},
	)
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	root.AddCommand(
		newDemo(env), newDev(env), newNew(env), newBuild(env), newTest(env), newSign(env), newServe(env), newConfig(env), newLimits(env), newDoctor(env),
		newStatus(env), newModule(env), newConn(env), newTopic(env), newTail(env), newLogs(env),
		newConnect(env), newBench(env), newReplay(env), newMan(env), newVersion(env), newTranspile(env),
	)
	return root
}

// unknown is the error for a word that the user probably mistyped.
func unknown(kind, word string, known []string, otherwise string) error {
	if near, ok := config.Nearest(word, known); ok {
		return usage("unknown %s %q; did you mean %q?", kind, word, near)
	}
	return usage("unknown %s %q; %s", kind, word, otherwise)
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// atMost refuses more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage("unexpected argument %q; see `%s --help`", args[n], cmd.CommandPath())
		}
		return nil
	}
}

// logFlags are the flags of every command that logs.
type logFlags struct{ level, format string }

func (f *logFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.level, "log-level", "", "least severe `LEVEL` to log: debug, info, warn or error")
	flags.StringVar(&f.format, "log-format", "", "`FORM` of the log: text, json, or auto (text on a terminal)")
}

func (f *logFlags) overrides() []config.Override {
	var all []config.Override
	if f.level != "" {
		all = append(all, config.Override{Flag: "--log-level", Key: "log.level", Value: f.level})
	}
	if f.format != "" {
		all = append(all, config.Override{Flag: "--log-format", Key: "log.format", Value: f.format})
	}
	return all
}

// loadConfig is config.Load with the exit code of its mistakes.
func loadConfig(s config.Source) (*config.Config, error) {
	c, err := config.Load(s)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return c, nil
}
