package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/admin"
)

func newStatus(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "say how a running server is",
		Long:    "Says whether a server runs and is ready, since when, what it serves, and what became of the\nlast reload of its configuration." + adminFlagsHelp,
		Example: "  weir status\n  weir status --admin 127.0.0.1:8081 -o json",
		GroupID: "operate",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var s admin.Status
				if err := c.get(ctx, "status", "/v1/status", nil, &s); err != nil {
					return err
				}
				return show(env, f.output, s, []admin.Status{s}, func(t *table) {
					t.add("state", stateOf(s))
					t.add("version", s.Version)
					t.add("process", fmt.Sprintf("%d, up %v", s.PID, time.Duration(s.UptimeSeconds)*time.Second))
					t.add("listens on", strings.Join(s.Listen, ", "))
					t.add("connections", s.Connections)
					t.add("modules", strings.Join(s.Modules, ", "))
					t.add("configuration", lastReload(s.Config))
				})
			})
		},
	}
	f.register(cmd, "text, json or ndjson")
	return cmd
}

func stateOf(s admin.Status) cell {
	switch {
	case s.Draining:
		return alarm("draining")
	case !s.Ready:
		return alarm("not ready")
	}
	return cell{text: "ready"}
}

// lastReload says what became of the last reload of the configuration.
func lastReload(r admin.Reload) cell {
	switch {
	case r.Count == 0:
		return cell{text: "as it was at the start"}
	case len(r.Problems) > 0:
		return alarm(printable(fmt.Sprintf("refused %s: %s", moment(r.Time), strings.Join(r.Problems, "; "))))
	case len(r.Kept) > 0:
		return cell{text: fmt.Sprintf("reloaded %s; a restart is needed for %s", moment(r.Time), strings.Join(r.Kept, ", "))}
	}
	return cell{text: "reloaded " + moment(r.Time)}
}
