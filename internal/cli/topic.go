package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"weir/internal/admin"
)

func newTopic(env *Env) *cobra.Command {
	return group("topic", "look at the topics of a running server, and publish to them",
		`Lists the topics that connections have subscribed to, and publishes to them as a back end
would. Each module has topics of its own.`,
		newTopicList(env), newTopicMembers(env), newTopicPublish(env))
}

func newTopicList(env *Env) *cobra.Command {
	var f adminFlags
	var module, prefix string
	limit := limitFlag(0)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list the topics that have subscribers",
		Long:    "Lists the topics that have subscribers, and how many." + adminFlagsHelp,
		Example: "  weir topic list --module chat --prefix room:",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := limit.check(); err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				all := admin.Topics{Topics: []admin.Topic{}}
				err := pages(int(limit), func(after string, n int) (int, string, error) {
					var page admin.Topics
					r := request{what: "list the topics", path: "/v1/topics", module: module,
						query: addQuery(url.Values{}, "module", module, "prefix", prefix, "after", after, "limit", strconv.Itoa(n))}
					err := c.call(ctx, r, &page)
					all.Topics, all.Next = append(all.Topics, page.Topics...), page.Next
					return len(page.Topics), page.Next, err
				})
				if err != nil {
					return err
				}
				err = show(env, f.output, all, all.Topics, func(t *table) {
					t.head = []string{"MODULE", "TOPIC", "MEMBERS"}
					for _, one := range all.Topics {
						t.add(one.Module, one.Topic, one.Members)
					}
				})
				limit.more(env, f.output, len(all.Topics), all.Next, "topics")
				return err
			})
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "only those of this `MODULE`")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only those whose names begin with `TEXT`")
	limit.register(cmd.Flags())
	f.register(cmd, "text, json or ndjson")
	f.completeModuleFlag(cmd, env)
	return cmd
}

func newTopicMembers(env *Env) *cobra.Command {
	var f adminFlags
	limit := limitFlag(0)
	cmd := &cobra.Command{
		Use:     "members MODULE TOPIC",
		Short:   "list the connections that have subscribed to a topic",
		Long:    "Lists the connections that have subscribed to a topic, by their numbers." + adminFlagsHelp,
		Example: "  weir topic members chat lobby",
		Args:    exactly("MODULE", "TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := limit.check(); err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				all := admin.Members{Members: []admin.ConnID{}}
				err := pages(int(limit), func(after string, n int) (int, string, error) {
					var page admin.Members
					r := request{what: "list the members of " + args[1], path: "/v1/topics/members", module: args[0],
						query: addQuery(url.Values{}, "module", args[0], "topic", args[1], "after", after, "limit", strconv.Itoa(n))}
					err := c.call(ctx, r, &page)
					all.Members, all.Next = append(all.Members, page.Members...), page.Next
					return len(page.Members), page.Next, err
				})
				if err != nil {
					return err
				}
				items := make([]member, len(all.Members))
				for i, id := range all.Members {
					items[i].ID = id
				}
				err = show(env, f.output, all, items, func(t *table) {
					for _, m := range items {
						t.add(uint64(m.ID))
					}
				})
				limit.more(env, f.output, len(all.Members), all.Next, "members")
				return err
			})
		},
	}
	limit.register(cmd.Flags())
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleThenTopic)
	return cmd
}

// member is what `weir topic members -o ndjson` prints a line; the keys stay as they
// are.
type member struct {
	ID admin.ConnID `json:"id"`
}

// moduleThenTopic are for completion: names of modules, then topics of the one that
// was chosen.
func moduleThenTopic(ctx context.Context, c *adminClient, args []string) []string {
	if len(args) != 1 {
		return moduleNames(ctx, c, args)
	}
	var all admin.Topics
	if c.get(ctx, "complete", "/v1/topics", url.Values{"module": args}, &all) != nil {
		return nil
	}
	var names []string
	for _, t := range all.Topics {
		names = append(names, t.Topic)
	}
	return names
}

func newTopicPublish(env *Env) *cobra.Command {
	var f adminFlags
	var m messageFlags
	cmd := &cobra.Command{
		Use:     "publish MODULE TOPIC TEXT",
		Aliases: []string{"send"},
		Short:   "send a message to all subscribers of a topic",
		Long:    "Sends a message to every subscriber of a topic, and says how many that are." + adminFlagsHelp,
		Example: `  weir topic publish chat lobby '{"type":"say","from":"operator","text":"hi"}'`,
		Args:    m.args("MODULE", "TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, encoded, err := m.message(env, args)
			if err != nil {
				return err
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var done admin.Published
				r := request{what: "publish to " + args[1], method: http.MethodPost, path: "/v1/topics/publish", module: args[0],
					body: admin.Publication{Module: args[0], Topic: args[1], Text: text, Base64: encoded}}
				if err := c.call(ctx, r, &done); err != nil {
					return err
				}
				return show(env, f.output, done, []admin.Published{done}, func(t *table) {
					t.add(fmt.Sprintf("sent to %s", count(done.Receivers, "subscriber")))
				})
			})
		},
	}
	m.register(cmd.Flags())
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleThenTopic)
	return cmd
}
