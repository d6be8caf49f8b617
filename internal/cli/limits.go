package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weir/internal/config"
)

const limitsLong = `Lists every limit: what becomes of who exceeds it, its value in effect, and its default where
that is another. Before the WebSocket is open, that is an HTTP status, afterwards a close
code; "dropped" ends a connection without a Close frame. Below stands how much memory all
connections can take together. --markdown prints the defaults, as the README has them.`

// limit is what `weir limits -o json` prints of one; the keys stay as they are.
type limit struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Over    string `json:"over"`
	Origin  string `json:"origin"`
}

func newLimits(env *Env) *cobra.Command {
	c := configuration{env: env}
	var output string
	var markdown bool
	cmd := &cobra.Command{
		Use:     "limits",
		Short:   "list every limit, and what becomes of who exceeds it",
		Long:    limitsLong,
		Example: "  weir limits\n  weir limits --set websocket.max_message_size=1MiB -o json",
		GroupID: "run",
		Args:    atMost(0),
		RunE: func(*cobra.Command, []string) error {
			if output != "text" && output != "json" {
				return usage("-o %s: write text or json", output)
			}
			if markdown {
				_, err := io.WriteString(env.Stdout, config.LimitsTable())
				return err
			}
			r, err := c.read()
			if err != nil {
				return err
			}
			if err := r.Err(); err != nil {
				return &exitError{exitUsage, err}
			}
			if output == "json" {
				all := []limit{}
				for _, l := range r.Limits() {
					all = append(all, limit(l))
				}
				return showJSON(env.Stdout, all)
			}
			return printLimits(env.Stdout, r)
		},
	}
	c.flags.registerSource(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`FORM` of the output: text or json")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the defaults as a table in Markdown")
	return cmd
}

func printLimits(w io.Writer, r *config.Reading) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tWHO EXCEEDS IT\tVALUE")
	for _, l := range r.Limits() {
		fmt.Fprintf(table, "%s\t%s\t%s", l.Key, l.Over, l.Value)
		if l.Value != l.Default {
			fmt.Fprintf(table, " (default: %s)", l.Default)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n"+memoryFormula(r))
	return err
}

// idleBytes is what an open connection holds that has nothing on its way, kernel
// memory aside (docs/bench/results.md, idle-15000: 436 B).
const idleBytes = 800

// memoryFormula says what memory the process can take at most.
func memoryFormula(r *config.Reading) string {
	value := map[string]string{}
	for _, l := range r.Limits() {
		value[l.Key] = l.Value
	}
	var b strings.Builder
	b.WriteString("Memory of the process, at most:\n")
	for _, part := range []struct{ amount, what string }{
		{value["server.inbound_budget"], "server.inbound_budget: messages that have not come completely"},
		{value["server.outbound_budget"], "server.outbound_budget: what waits for slow readers"},
		{value["websocket.deflate.takeover_budget"], "websocket.deflate.takeover_budget: what connections with context takeover remember"},
		{value["runtime.guest_budget_bytes"], "runtime.guest_budget_bytes: memory of handlers"},
		{fmt.Sprintf("%s × %d B", value["server.max_connections"], idleBytes), "connections with nothing on their way"},
	} {
		fmt.Fprintf(&b, "  %s\n      %s\n", part.amount, part.what)
	}
	b.WriteString("and some 30 MiB for the program, its buffers and compiled modules of the usual size; with compression 2 MiB more for each processor.\n")
	return b.String()
}
