package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/admin"
)

const tailLong = `Prints what happens on the open connections of a running server, as it happens: until
Ctrl-C, --limit, or the server's end. Reloads and new versions of modules do not end it.

The server filters and samples: --sample 100 shows one of a hundred messages, sends and
publications, but every open, close and failure. It never waits for this command: what cannot be shown in time is
dropped, and counted on standard error at the end. Payloads are shown only with --payload.

-o ndjson prints an event a line, -o json a document {"events": […], "dropped": N} that is
whole when it ends; the events are those of GET /v1/tail.`

// tailKinds are the kinds of events that can be asked for.
var tailKinds = []string{"open", "message", "send", "publish", "close", "failure"}

type tailFlags struct {
	admin                       adminFlags
	module, route, conn, remote string
	kinds                       []string
	sample, payload             int
	limit                       uint64
}

func newTail(env *Env) *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:     "tail",
		Short:   "show what happens on the connections of a running server",
		Long:    tailLong + adminFlagsHelp,
		Example: "  weir tail --module chat --payload 100\n  weir tail --kind open,close,failure\n  weir tail --sample 100 -o ndjson | jq .took_ms",
		GroupID: "operate",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := f.query()
			if err != nil {
				return err
			}
			return f.admin.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				return f.run(ctx, env, c, query)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.module, "module", "", "only events of this `MODULE`")
	flags.StringVar(&f.route, "route", "", "only events of this `ROUTE`, written as in the configuration")
	flags.StringVar(&f.conn, "conn", "", "only events of the connection `ID`")
	flags.StringVar(&f.remote, "remote", "", "only events of clients at this `ADDRESS` or network, such as 10.0.0.0/8")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only events of these `KINDS`: "+strings.Join(tailKinds, ", "))
	flags.IntVar(&f.sample, "sample", 1, "show one of `NUMBER` messages")
	flags.IntVar(&f.payload, "payload", 0, "show at most `BYTES` of each message, up to 4096")
	flags.Uint64Var(&f.limit, "limit", 0, "end after `NUMBER` events; 0 means never")
	f.admin.register(cmd, "text, json or ndjson")
	f.admin.completeModuleFlag(cmd, env)
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(tailKinds, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag has just been registered
	}
	return cmd
}

// query checks the flags.
func (f *tailFlags) query() (url.Values, error) {
	var wrong []error
	for _, kind := range f.kinds {
		if !slices.Contains(tailKinds, kind) {
			wrong = append(wrong, unknown("kind", kind, tailKinds, "there are "+strings.Join(tailKinds, ", ")))
		}
	}
	if f.sample < 1 {
		wrong = append(wrong, usage("--sample %d: give 1, which shows all, or more", f.sample))
	}
	if f.payload < 0 || f.payload > maxTailPayload {
		wrong = append(wrong, usage("--payload %d: give 0 to %d", f.payload, maxTailPayload))
	}
	if f.conn != "" {
		if _, err := connPath(f.conn); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	q := addQuery(url.Values{}, "module", f.module, "route", f.route, "conn", strings.TrimPrefix(f.conn, "#"), "remote", f.remote, "kinds", strings.Join(f.kinds, ","))
	if f.sample > 1 {
		q.Set("sample", strconv.Itoa(f.sample))
	}
	if f.payload > 0 {
		q.Set("payload", strconv.Itoa(f.payload))
	}
	return q, nil
}

// maxTailPayload bounds --payload.
const maxTailPayload = 4096

func (f *tailFlags) run(ctx context.Context, env *Env, c *adminClient, query url.Values) error {
	const what = "tail"
	out := streamWriter{w: env.Stdout, form: f.admin.output, name: "events"}
	colour := colours(env, env.StdoutTerminal)
	enough := false
	err := c.stream(ctx, request{what: what, path: "/v1/tail", query: query, module: f.module}, maxSilence, c.following(env), func(line []byte) (bool, error) {
		if dropped, ok := readStatus(line); ok {
			out.dropped = dropped
			return false, nil
		}
		var e admin.TailEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return false, c.strange(what, err.Error())
		}
		if err := out.item(line, func() string { return tailLine(e, colour) }); err != nil {
			return false, err
		}
		enough = f.limit > 0 && out.count == f.limit
		return enough, nil
	})
	return f.finish(env, c, what, &out, err, enough)
}

// finish ends the output of a stream, says what was dropped, and makes an error of
// an end that nobody has asked for.
func (f *tailFlags) finish(env *Env, c *adminClient, what string, out *streamWriter, err error, enough bool) error {
	if refused, ok := errors.AsType[*exitError](err); ok && out.count == 0 && refused.code == exitRefused {
		return err // nothing has begun
	}
	err = orEnded(c, what, err, enough)
	if closeErr := out.close(); err == nil {
		err = closeErr
	}
	if err == nil || out.count > 0 {
		fmt.Fprintf(env.Stderr, "weir: %s shown, %d dropped\n", count(int(out.count), "event"), out.dropped)
	}
	return err
}

// orEnded is the error of a stream that was followed: none when enough had come or
// somebody has stopped it.
func orEnded(c *adminClient, what string, err error, enough bool) error {
	switch {
	case isStopped(err), err == nil && enough:
		return nil
	case err == nil:
		return c.ended(what)
	}
	return err
}

// tailLine is an event for people.
func tailLine(e admin.TailEvent, colour bool) string {
	parts := []string{clock(e.Time), fmt.Sprintf("%-8s", e.Kind)}
	if e.Conn != 0 {
		parts = append(parts, fmt.Sprintf("#%d", e.Conn))
	}
	if e.Module != "" {
		parts = append(parts, fmt.Sprintf("%s@%d", e.Module, e.Generation))
	}
	switch e.Kind {
	case "open":
		parts = append(parts, e.Remote, e.Path)
	case "close":
		parts = append(parts, fmt.Sprintf("%d (%s)", e.Code, closeName(e.Code)))
	case "message", "send", "publish":
		kind := "text"
		if e.Binary {
			kind = "binary"
		}
		if e.Topic != "" {
			parts = append(parts, e.Topic)
		}
		parts = append(parts, kind, sizeText(e.Size))
		if e.Kind == "publish" {
			parts = append(parts, "to "+count(e.Receivers, "subscriber"))
		}
	}
	if e.TookMS > 0 {
		parts = append(parts, millisecondsText(e.TookMS))
	}
	for _, text := range []string{e.Reason, e.Cause, e.Error, payloadOf(e)} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	line := printable(strings.Join(parts, "  ")) // guests and clients have a say in it
	if colour && e.Kind == "failure" {
		line = redText + line + plainText
	}
	return line
}

// payloadOf is what is shown of a message, with … when that is not all of it.
func payloadOf(e admin.TailEvent) string {
	payload, shown := []byte(e.PayloadText), e.PayloadText
	if data, err := base64.StdEncoding.DecodeString(e.PayloadBase64); err == nil && len(data) > 0 {
		payload, shown = data, fmt.Sprintf("% x", data)
	}
	if shown != "" && len(payload) < e.Size {
		shown += "…"
	}
	return shown
}

// clock is a moment of today for people, to the millisecond and in their zone.
func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }
