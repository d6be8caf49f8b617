package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"weir/internal/admin"
	"weir/internal/config"
)

// showRunning prints the configuration that a running server has in effect, or the
// part below key.
func showRunning(ctx context.Context, env *Env, f *adminFlags, key, form string) error {
	c, err := f.reach(env)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx, env)
	defer stop()
	var answer admin.Config
	if err := c.get(ctx, "show the configuration", "/v1/config", nil, &answer); err != nil {
		return err
	}
	tree, err := settingOf("", "", answer.Config)
	if err != nil {
		return c.strange("show the configuration", err.Error())
	}
	shown := tree.Inside
	if key != "" {
		one, found := findSetting(tree, key)
		if !found {
			if _, err := config.Explain(key); err != nil {
				return usage("%s: %w", key, err)
			}
			return usage("%s has no value there", key)
		}
		shown, tree = []config.Setting{one}, one
	}
	switch form {
	case "json":
		return showJSON(env.Stdout, jsonOf(tree))
	case "ndjson":
		return printJSON(env.Stdout, jsonOf(tree))
	}
	_, err = env.Stdout.Write(config.YAML(shown, false))
	return err
}

func findSetting(s config.Setting, key string) (config.Setting, bool) {
	if s.Key == key {
		return s, true
	}
	for _, below := range s.Inside {
		if found, ok := findSetting(below, key); ok {
			return found, true
		}
	}
	return config.Setting{}, false
}

// settingOf makes a setting of JSON, in its order. What may hold anything
// (modules.NAME.config) and lists of texts are values.
func settingOf(key, name string, text json.RawMessage) (config.Setting, error) {
	s := config.Setting{Key: key, Name: name}
	text = bytes.TrimSpace(text)
	isObject := len(text) > 0 && text[0] == '{'
	isList := len(text) > 0 && text[0] == '[' && bytes.ContainsRune(text, '{')
	if (!isObject && !isList) || (strings.HasPrefix(key, "modules.") && strings.Count(key, ".") == 2 && name == "config") {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&s.Value); err != nil {
			return s, err
		}
		s.Value = plainValue(s.Value)
		return s, nil
	}
	if isList {
		var items []json.RawMessage
		if err := json.Unmarshal(text, &items); err != nil {
			return s, err
		}
		s.List = true
		for i, item := range items {
			one, err := settingOf(fmt.Sprintf("%s[%d]", key, i), "", item)
			if err != nil {
				return s, err
			}
			s.Inside = append(s.Inside, one)
		}
		return s, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil { // the brace
		return s, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return s, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return s, err
		}
		below := fmt.Sprint(name)
		path := below
		if key != "" {
			path = key + "." + below
		}
		one, err := settingOf(path, below, value)
		if err != nil {
			return s, err
		}
		s.Inside = append(s.Inside, one)
	}
	return s, nil
}

// plainValue is a value of JSON in the types that a setting has.
func plainValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // it is a number, says the decoder
		return f
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			text, ok := item.(string)
			if !ok {
				return v
			}
			texts[i] = text
		}
		return texts
	case map[string]any:
		for key, value := range v {
			v[key] = plainValue(value)
		}
	}
	return v
}

const configReloadLong = `Makes a running server read its configuration, and the files of its modules, again, as
SIGHUP does, and says what came of the configuration: what has changed, and what has to
wait for a restart. One with a mistake changes nothing (exit code 4). New versions of
modules may still be loading then; "weir module list" shows them.`

func newConfigReload(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "reload",
		Short:   "make a running server read its configuration again",
		Long:    configReloadLong + adminFlagsHelp,
		Example: "  weir config reload",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var done admin.Reload
				r := request{what: "reload the configuration", method: http.MethodPost, path: "/v1/config/reload"}
				if err := c.callLong(ctx, r, &done); err != nil {
					return err
				}
				return show(env, f.output, done, []admin.Reload{done}, func(t *table) {
					for _, key := range done.Changed {
						t.add("changed", key)
					}
					for _, key := range done.Kept {
						t.add(alarm("needs a restart"), key)
					}
					if len(t.rows) == 0 {
						t.add("nothing has changed")
					}
				})
			})
		},
	}
	f.register(cmd, "text, json or ndjson")
	return cmd
}
