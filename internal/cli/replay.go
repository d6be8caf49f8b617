package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/config"
	"weir/runtime"
)

const replayLong = `Plays the tape of a handler that trapped, event by event, with the answers that it
got from the server, and stops at the first thing that goes another way.

The module is the one of the tape, which lies beside it, and all must go as recorded,
the trap included. With --module it is another one, such as the fixed one: up to the
event that trapped it must ask for the same and answer the same; that event passes if
it does not trap.

--to-scenario plays nothing: it writes what the tape's clients did, and were sent, as a
scenario for weir test.

Exit codes: 0 repeated as recorded, or passed; 1 diverged; 2 the tape is damaged, or
cannot be played with that module.`

type replayFlags struct {
	module   string
	until    uint64
	scenario string
	output   string
}

func newReplay(env *Env) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay TAPE",
		Short: "repeat what made a handler trap",
		Long:  replayLong,
		Example: "  weir replay tapes/chat-g2-20260102T150405Z-1.tape\n" +
			"  weir replay chat.tape --module chat.wasm\n" +
			"  weir replay chat.tape --to-scenario scenarios/trap.yaml",
		GroupID: "clients",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give one tape; see `weir replay --help`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.output != "text" && f.output != "json" {
				return usage("-o %s: write text or json", f.output)
			}
			ctx, stop := untilSignal(cmd.Context(), env)
			defer stop()
			return f.run(ctx, env, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.module, "module", "", "`FILE` of the module (default that of the tape, DIGEST.wasm beside it)")
	flags.Uint64Var(&f.until, "until", math.MaxUint64, "`N`umber of the last event to play")
	flags.Lookup("until").DefValue = "" // all
	flags.StringVar(&f.scenario, "to-scenario", "", "write the tape as a scenario to `FILE`")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}

func (f *replayFlags) run(ctx context.Context, env *Env, name string) error {
	file, err := env.ReadFile(name)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	tape, err := runtime.DecodeTape(file)
	if err != nil {
		return usage("%s: %w", name, err)
	}
	module := f.module
	if module == "" {
		module = filepath.Join(filepath.Dir(name), tape.Digest+".wasm")
	}
	if f.scenario != "" {
		return f.writeScenario(env, tape, module)
	}
	wasm, err := env.ReadFile(module)
	if f.module == "" && errors.Is(err, fs.ErrNotExist) {
		return usage("the module of the tape, %s, is not beside it; name a file with --module", filepath.Base(module))
	} else if err != nil {
		return &exitError{exitUsage, err}
	}

	logger, _ := newLogger(env.Stderr, config.LogOptions{}, nil, env.Terminal)
	engine, err := runtime.NewEngine(runtime.Options{Interpreter: tape.Interpreter, Logger: logger})
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	result, err := runtime.Replay(ctx, engine, tape, wasm, f.until)
	err = errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		f.showUnplayed(env.Stdout, tape)
		return &exitError{exitUsage, err}
	}
	if f.output == "json" {
		err = json.NewEncoder(env.Stdout).Encode(replayReportOf(tape, module, result))
	} else {
		err = showReplay(env.Stdout, tape, module, result)
	}
	if err == nil && result.Outcome == runtime.ReplayDiverged {
		err = fmt.Errorf("the replay diverged from the tape at %s", result.Divergence.Step)
	}
	return err
}

// showUnplayed shows a tape that cannot be played.
func (f *replayFlags) showUnplayed(w io.Writer, tape *runtime.Tape) {
	if f.output != "text" {
		return
	}
	fmt.Fprintln(w, tapeLine(tape))
	steps, _ := tape.Steps() // up to where it is damaged; that was told
	for i := range steps {
		if steps[i].Number <= f.until {
			showStep(w, &steps[i])
		}
	}
}

func showReplay(w io.Writer, tape *runtime.Tape, module string, r *runtime.ReplayResult) error {
	fmt.Fprintln(w, tapeLine(tape))
	if !r.SameModule {
		fmt.Fprintf(w, "played on %s, another module\n", module)
	}
	for i := range r.Steps {
		showStep(w, &r.Steps[i])
	}
	_, err := fmt.Fprintln(w, outcomeText(r))
	if err == nil && r.Trap != nil && r.Trap.Stack != "" {
		_, err = fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(r.Trap.Stack, "\n", "\n  "))
	}
	return err
}

func tapeLine(t *runtime.Tape) string {
	from := "from its birth"
	switch t.Start {
	case runtime.TapeFromSnapshot:
		from = fmt.Sprintf("from a snapshot before event %d", t.First)
	case runtime.TapeFromNowhere:
		from = fmt.Sprintf("from event %d, what was before is lost", t.First)
	}
	line := fmt.Sprintf("module %s, generation %d, instance %d, %s", t.Module, t.Generation, t.Instance, from)
	if t.Trap != nil {
		line += fmt.Sprintf("; trapped at event %d: %s", t.Trap.Number, t.Trap.Message)
	}
	return line
}

func outcomeText(r *runtime.ReplayResult) string {
	switch r.Outcome {
	case runtime.ReplayRepeated:
		return "repeated: it trapped at the same place: " + r.Trap.Message
	case runtime.ReplayPassed:
		return "passed: the event that trapped no longer does"
	case runtime.ReplayDiverged:
		return "diverged: " + r.Divergence.String()
	default:
		return "stopped: all went as recorded so far"
	}
}

// showStep is one line an event. What serves an event (a buffer that the guest
// was asked for) is only worth one if the guest trapped there.
func showStep(w io.Writer, s *runtime.TapeStep) {
	if s.Kind != runtime.StepEvent && !s.Trapped {
		return
	}
	end := fmt.Sprintf("= %d", s.Result)
	if s.Trapped {
		end = "trapped (" + s.Reason.String() + ")"
	}
	if s.Cut {
		end += ", not recorded as a whole"
	}
	if s.Kind != runtime.StepEvent {
		fmt.Fprintf(w, "%8d  %-8s %8d B  %s\n", s.Number, "buffer", s.Length, end)
		return
	}
	fmt.Fprintf(w, "%8d  %-8s conn %-12d %8d B %5d calls  %s\n", s.Number, s.Event, s.Conn, s.Length, len(s.Calls), end)
}

// replayReport is the result as JSON.
type replayReport struct {
	Tape       runtime.TapeHeader    `json:"tape"`
	Module     string                `json:"module"` // file
	SameModule bool                  `json:"same_module"`
	Steps      []replayStep          `json:"steps"`
	Outcome    runtime.ReplayOutcome `json:"outcome"` // repeated, passed, diverged or stopped
	Divergence *runtime.Divergence   `json:"divergence,omitempty"`
	Trap       *replayTrap           `json:"trap,omitempty"`
}

type replayStep struct {
	Number  uint64   `json:"number"`
	Event   string   `json:"event"` // "buffer" for a call of weir_inbound
	Conn    string   `json:"conn,omitempty"`
	Arg     int64    `json:"arg,omitempty"`
	Payload []byte   `json:"payload,omitempty"`
	Calls   []string `json:"calls,omitempty"`
	Result  int64    `json:"result"`
	Fuel    int64    `json:"fuel"`
	Trapped bool     `json:"trapped,omitempty"`
}

type replayTrap struct {
	Export  string `json:"export"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Stack   string `json:"stack,omitempty"`
}

func replayReportOf(tape *runtime.Tape, module string, r *runtime.ReplayResult) *replayReport {
	report := &replayReport{Tape: tape.TapeHeader, Module: module, SameModule: r.SameModule, Outcome: r.Outcome, Divergence: r.Divergence}
	if r.Trap != nil {
		report.Trap = &replayTrap{r.Trap.Export, r.Trap.Reason.String(), r.Trap.Message, r.Trap.Stack}
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		one := replayStep{Number: s.Number, Event: "buffer", Result: s.Result, Fuel: s.Spent, Trapped: s.Trapped}
		switch s.Kind {
		case runtime.StepFill:
			continue
		case runtime.StepEvent:
			one.Event, one.Arg, one.Payload = s.Event.String(), s.Arg, s.Payload()
			if s.Conn != 0 {
				one.Conn = fmt.Sprint(s.Conn) // JavaScript's numbers are too short for it
			}
		}
		for _, c := range s.Calls {
			one.Calls = append(one.Calls, c.String())
		}
		report.Steps = append(report.Steps, one)
	}
	return report
}
