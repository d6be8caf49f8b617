package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/internal/admin"
)

func newConn(env *Env) *cobra.Command {
	return group("conn", "look at the open connections of a running server, send to them, close them",
		`Lists the WebSocket connections that are open, sends them messages, and closes them.
Their numbers are those of the log.`,
		newConnList(env), newConnInspect(env), newConnSend(env), newConnClose(env))
}

// maxPage is how many items one answer has at most.
const maxPage = 1000

// pages asks for page after page until there are limit items or no more; 0 = all.
// get returns how many a page had and what the next one comes after, empty at the
// end, when it is asked for at most n that come after another.
func pages(limit int, get func(after string, n int) (got int, next string, err error)) error {
	after := ""
	for rest := limit; ; {
		n := maxPage
		if limit > 0 {
			n = min(n, rest)
		}
		got, next, err := get(after, n)
		if err != nil || next == "" {
			return err
		}
		if rest -= got; limit > 0 && rest <= 0 {
			return nil
		}
		after = next
	}
}

// limitFlag says how much of a list is wanted.
type limitFlag int

func (l *limitFlag) register(flags *pflag.FlagSet) {
	flags.IntVar((*int)(l), "limit", maxPage, "print at most `NUMBER`; 0 means all")
}

func (l limitFlag) check() error {
	if l < 0 {
		return usage("--limit %d: give 0, which means all, or more", int(l))
	}
	return nil
}

// more tells people that a list goes on, or that there is none.
func (l limitFlag) more(env *Env, form string, n int, next, what string) {
	switch {
	case next != "":
		fmt.Fprintf(env.Stderr, "weir: there are more; --limit 0 prints all\n")
	case n == 0 && form == "text":
		fmt.Fprintf(env.Stderr, "weir: there are no %s\n", what)
	}
}

// addQuery sets those of the values that are not empty.
func addQuery(q url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func newConnList(env *Env) *cobra.Command {
	var f adminFlags
	var module, route, topic, remote string
	limit := limitFlag(0)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list the open connections",
		Long:    "Lists the connections that are open, by their numbers: the oldest first." + adminFlagsHelp,
		Example: "  weir conn list --module chat\n  weir conn list --remote 10.0.0.0/8 --limit 0 -o ndjson",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := limit.check(); err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var all admin.Conns
				err := pages(int(limit), func(after string, n int) (int, string, error) {
					var page admin.Conns
					r := request{what: "list the connections", path: "/v1/connections", module: module,
						query: addQuery(url.Values{}, "module", module, "route", route, "topic", topic, "remote", remote, "after", after, "limit", strconv.Itoa(n))}
					err := c.call(ctx, r, &page)
					all.Connections, all.Next = append(all.Connections, page.Connections...), page.Next
					return len(page.Connections), page.Next, err
				})
				if err != nil {
					return err
				}
				if all.Connections == nil {
					all.Connections = []admin.Conn{}
				}
				err = show(env, f.output, all, all.Connections, func(t *table) {
					t.head = []string{"CONN", "MODULE", "GENERATION", "REMOTE", "PATH", "QUEUED", "TOPICS"}
					for _, one := range all.Connections {
						t.add(uint64(one.ID), one.Module, one.Generation, one.Remote, pathOf(one), queued(one), strings.Join(one.Topics, ", "))
					}
				})
				limit.more(env, f.output, len(all.Connections), all.Next, "connections")
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&module, "module", "", "only those of this `MODULE`")
	flags.StringVar(&route, "route", "", "only those of this `ROUTE`, written as in the configuration")
	flags.StringVar(&topic, "topic", "", "only subscribers of this `TOPIC`")
	flags.StringVar(&remote, "remote", "", "only those from this `ADDRESS` or network, such as 10.0.0.0/8")
	limit.register(flags)
	f.register(cmd, "text, json or ndjson")
	f.completeModuleFlag(cmd, env)
	return cmd
}

// completeModuleFlag completes --module.
func (f *adminFlags) completeModuleFlag(cmd *cobra.Command, env *Env) {
	complete := f.completing(env, func(ctx context.Context, c *adminClient, _ []string) []string { return moduleNames(ctx, c, nil) })
	if err := cmd.RegisterFlagCompletionFunc("module", complete); err != nil {
		panic(err) // the flag has just been registered
	}
}

func pathOf(c admin.Conn) string {
	if c.Query != "" {
		return c.Path + "?" + c.Query
	}
	return c.Path
}

// queued is what waits for the socket.
func queued(c admin.Conn) cell {
	text := sizeText(c.QueuedBytes)
	if c.Closing {
		text += ", closing"
	}
	return cell{text: text}
}

func newConnInspect(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "inspect ID",
		Short:   "say all about one connection",
		Long:    "Says what is known of one connection." + adminFlagsHelp,
		Example: "  weir conn inspect 17",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := connPath(args[0])
			if err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var one admin.Conn
				if err := c.get(ctx, "inspect connection "+args[0], path, nil, &one); err != nil {
					return err
				}
				return show(env, f.output, one, []admin.Conn{one}, func(t *table) {
					t.add("connection", uint64(one.ID))
					t.add("module", one.Module)
					t.add("generation", one.Generation)
					t.add("route", one.Route)
					t.add("path", pathOf(one))
					t.add("protocol", one.Protocol)
					t.add("remote", one.Remote)
					t.add("key", one.Key)
					t.add("topics", strings.Join(one.Topics, ", "))
					t.add("state", sizeText(one.StateBytes))
					t.add("queued", queued(one))
					if one.OpenedAt.Year() > 1 {
						t.add("open since", moment(one.OpenedAt))
					}
				})
			})
		},
	}
	f.register(cmd, "text, json or ndjson")
	return cmd
}

// connPath is where the API has a connection.
func connPath(id string) (string, error) {
	id = strings.TrimPrefix(id, "#")
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return "", usage("%q is not the number of a connection; `weir conn list` lists them", id)
	}
	return "/v1/connections/" + id, nil
}

// messageFlags say what a message is.
type messageFlags struct{ binary string }

func (f *messageFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.binary, "binary", "", "send what `FILE` holds as a binary message instead of TEXT; - is standard input")
}

// args takes TEXT after the others, or none with --binary.
func (f *messageFlags) args(others ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if f.binary != "" {
			if len(args) == len(others)+1 {
				return usage("give either TEXT or --binary FILE")
			}
			return exactly(others...)(cmd, args)
		}
		return exactly(append(others, "TEXT")...)(cmd, args)
	}
}

// message is the one that is meant: text or base64 is set.
func (f *messageFlags) message(env *Env, args []string) (text, encoded *string, err error) {
	if f.binary == "" {
		last := args[len(args)-1]
		if !utf8.ValidString(last) {
			return nil, nil, usage("TEXT is not UTF-8, as text must be; --binary sends bytes")
		}
		return &last, nil, nil
	}
	var data []byte
	if f.binary == "-" {
		data, err = io.ReadAll(io.LimitReader(env.Stdin, maxInputLine+1))
	} else {
		data, err = env.ReadFile(f.binary)
	}
	if err != nil {
		return nil, nil, usage("--binary: %w", err)
	}
	b := base64.StdEncoding.EncodeToString(data)
	return nil, &b, nil
}

func newConnSend(env *Env) *cobra.Command {
	var f adminFlags
	var m messageFlags
	cmd := &cobra.Command{
		Use:     "send ID TEXT",
		Short:   "send a message to one connection",
		Long:    "Sends a message to one connection, behind what its handler has sent already." + adminFlagsHelp,
		Example: "  weir conn send 17 'the server restarts at noon'\n  head -c 16 /dev/urandom | weir conn send 17 --binary -",
		Args:    m.args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := connPath(args[0])
			if err != nil {
				return err
			}
			text, encoded, err := m.message(env, args)
			if err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				r := request{what: "send to connection " + args[0], method: http.MethodPost, path: path + "/messages",
					body: admin.Message{Text: text, Base64: encoded}}
				if err := c.call(ctx, r, nil); err != nil {
					return err
				}
				return f.done(env, map[string]any{"id": args[0], "sent": true}, "sent to connection "+args[0])
			})
		},
	}
	m.register(cmd.Flags())
	f.register(cmd, "text, json or ndjson")
	return cmd
}

// done prints that something was done which has no answer of its own.
func (f *adminFlags) done(env *Env, v any, text string) error {
	return show(env, f.output, v, []any{v}, func(t *table) { t.add(text) })
}

func newConnClose(env *Env) *cobra.Command {
	var f adminFlags
	var code int
	var reason string
	cmd := &cobra.Command{
		Use:     "close ID",
		Short:   "close one connection",
		Long:    "Closes one connection in order, behind what its handler has sent already." + adminFlagsHelp,
		Example: "  weir conn close 17\n  weir conn close 17 --code 4403 --reason banned",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := connPath(args[0])
			if err != nil {
				return err
			}
			if !mayClose(code) {
				return usage("--code %d: give one of 1000, 1001, 1008, 1011 to 1013, 3000 to 4999", code)
			}
			if len(reason) > maxReasonBytes || !utf8.ValidString(reason) {
				return usage("--reason is UTF-8 and has at most %d bytes; this has %d", maxReasonBytes, len(reason))
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				r := request{what: "close connection " + args[0], method: http.MethodDelete, path: path,
					query: addQuery(url.Values{}, "code", strconv.Itoa(code), "reason", reason)}
				if err := c.call(ctx, r, nil); err != nil {
					return err
				}
				return f.done(env, map[string]any{"id": args[0], "code": code, "reason": reason},
					fmt.Sprintf("closing connection %s with %d (%s)", args[0], code, closeName(code)))
			})
		},
	}
	cmd.Flags().IntVar(&code, "code", 1000, "`CODE` to close with")
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that the client gets with it")
	f.register(cmd, "text, json or ndjson")
	return cmd
}
