package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const logsLong = `Prints the latest lines of a running server's log, which it keeps in memory, and with -f
those that come, until Ctrl-C or the server's end. Reloads do not end it.

The lines are as in the log itself: those below the server's log.level are not there. With
-f, lines that cannot be sent in time are dropped, and counted on standard error at the end.

-o ndjson prints a record a line, -o json a document {"records": […], "dropped": N} that is
whole when it ends; a record has time, level, msg, and what belongs to it.`

func newLogs(env *Env) *cobra.Command {
	var f adminFlags
	var follow bool
	var lines int
	var level string
	cmd := &cobra.Command{
		Use:     "logs",
		Short:   "show the log of a running server",
		Long:    logsLong + adminFlagsHelp,
		Example: "  weir logs -n 20\n  weir logs -f --level warn",
		GroupID: "operate",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case lines < 0:
				return usage("-n %d: give 0 or more", lines)
			case level != "" && !slices.Contains(levels, level):
				return unknown("level", level, levels, "there are "+strings.Join(levels, ", "))
			}
			query := addQuery(url.Values{"lines": {strconv.Itoa(lines)}}, "level", level)
			if follow {
				query.Set("follow", "true")
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				return f.logs(ctx, env, c, query, follow)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	flags.IntVarP(&lines, "lines", "n", 100, "how many `LINES` to begin with")
	flags.StringVar(&level, "level", "", "least severe `LEVEL` to show: debug, info, warn or error")
	f.register(cmd, "text, json or ndjson")
	if err := cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(levels, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag has just been registered
	}
	return cmd
}

var levels = []string{"debug", "info", "warn", "error"}

func (f *adminFlags) logs(ctx context.Context, env *Env, c *adminClient, query url.Values, follow bool) error {
	const what = "logs"
	out := streamWriter{w: env.Stdout, form: f.output, name: "records"}
	colour := colours(env, env.StdoutTerminal)
	var begun func()
	if follow {
		begun = c.following(env)
	}
	err := c.stream(ctx, request{what: what, path: "/v1/logs", query: query}, 0, begun, func(line []byte) (bool, error) {
		if dropped, ok := readStatus(line); ok {
			out.dropped = dropped
			return false, nil
		}
		return false, out.item(line, func() string { return logLine(line, colour) })
	})
	if refused, ok := errors.AsType[*exitError](err); ok && out.count == 0 && refused.code == exitRefused {
		return err // nothing has begun
	}
	err = orEnded(c, what, err, !follow)
	if closeErr := out.close(); err == nil {
		err = closeErr
	}
	if follow && (err == nil || out.count > 0) {
		fmt.Fprintf(env.Stderr, "weir: %s shown, %d dropped\n", count(int(out.count), "line"), out.dropped)
	}
	return err
}

// logLine is a record for people: when, how severe, what, and what belongs to it in
// the order of the record. What is no record is shown as it is.
func logLine(line []byte, colour bool) string {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return printable(string(line))
	}
	var when, level, message string
	var more []string
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return printable(string(line))
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		switch key {
		case "time":
			if when = text; len(text) > 0 {
				if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
					when = clock(t)
				}
			}
		case "level":
			level = text
		case "msg":
			message = text
		default:
			if text == "" || strings.ContainsAny(text, " =\"") || printable(text) != text {
				text = strconv.Quote(text)
			}
			more = append(more, fmt.Sprintf("%v=%s", key, text))
		}
	}
	shown := fmt.Sprintf("%s  %-5s  %s", when, level, message)
	if len(more) > 0 {
		shown += "  " + strings.Join(more, " ")
	}
	shown = printable(shown) // guests have a say in it
	if colour && (level == "ERROR" || level == "WARN") {
		shown = redText + shown + plainText
	}
	return shown
}
