package conformance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/config"
)

var update = flag.Bool("update", false, "write vectors.txt anew")

// TestTheVectorsAreThoseOfTheScenarios holds vectors.txt to the scenarios.
func TestTheVectorsAreThoseOfTheScenarios(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v := vectors{t: t}
	v.line("# The scenarios in lines, for fake hosts; vectors_test.go writes this from scenarios/*.yaml. README.md has the words.")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		root, err := config.ParseNode(path, text)
		if err != nil {
			t.Fatal(err)
		}
		v.file(path, root)
	}
	if *update {
		if err := os.WriteFile("vectors.txt", v.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("vectors.txt")
	if err != nil || !bytes.Equal(have, v.Bytes()) {
		t.Errorf("vectors.txt is not what the scenarios make (%v); go test ./guest-sdk/conformance -run TestTheVectors -update", err)
	}
}

// vectors writes scenarios line by line.
type vectors struct {
	t *testing.T
	bytes.Buffer
}

func (v *vectors) line(words ...string) { fmt.Fprintln(v, strings.Join(words, " ")) }

// file writes what a scenario file has. What its settings say stands at the head of each scenario.
func (v *vectors) file(path string, root *config.Node) {
	var settings [][]string
	var keyed string // what stands before the key in a path, where there is an instance for each
	granted := func(n *config.Node) {
		for _, name := range []string{"topics", "timers", "metrics"} {
			found := false
			for _, item := range n.Items {
				found = found || item.Scalar == name
			}
			if !found {
				settings = append(settings, []string{"deny", name})
			}
		}
	}
	configure := func(n *config.Node) {
		text, err := json.Marshal(plain(n))
		if err != nil {
			v.t.Fatal(err)
		}
		settings = append(settings, []string{"config", word(string(text))})
	}
	if n := root.Get("capabilities"); n != nil {
		granted(n)
	}
	if n := root.Get("module_config"); n != nil {
		configure(n)
	}
	if n := root.Get("config"); n != nil {
		name := filepath.Join(filepath.Dir(path), n.Scalar.(string))
		text, err := os.ReadFile(name)
		if err != nil {
			v.t.Fatal(err)
		}
		c, err := config.ParseNode(name, text)
		if err != nil {
			v.t.Fatal(err)
		}
		module := c.Get("modules").Get("guest")
		granted(module.Get("capabilities"))
		if n := module.Get("config"); n != nil {
			configure(n)
		}
		if n := module.Get("keep_headers"); n != nil {
			for _, item := range n.Items {
				settings = append(settings, []string{"keep", item.Scalar.(string)})
			}
		}
		route := c.Get("routes").Items[0]
		if path := route.Get("path").Scalar.(string); !strings.Contains(path, "...") {
			settings = append(settings, []string{"route", path})
			if route.Get("key") != nil {
				keyed, _, _ = strings.Cut(path, "{")
			}
		}
	}
	for _, s := range root.Get("scenarios").Items {
		if traps(s) || staysOld(s) {
			continue // a fake host has no sandbox to survive it, and no second instance to go on with
		}
		key, one := "", true
		if keyed != "" {
			if key, one = onlyKey(s, keyed); !one {
				continue
			}
		}
		v.line()
		v.line("scenario", s.Get("name").Scalar.(string))
		for _, words := range settings {
			v.line(words...)
		}
		if key != "" {
			v.line("key", key)
		}
		for _, step := range s.Get("steps").Items {
			v.step(step)
		}
	}
}

// traps reports whether a scenario has the guest trap.
func traps(scenario *config.Node) bool {
	found := false
	for _, step := range scenario.Get("steps").Items {
		for _, text := range texts(step.Get("send")) {
			found = found || strings.HasSuffix(text, "trap")
		}
	}
	return found
}

// staysOld reports whether a scenario has a version that does not take over from the first one.
func staysOld(scenario *config.Node) bool {
	reloads, found := false, false
	for _, step := range scenario.Get("steps").Items {
		reloads = reloads || step.Get("reload") != nil
		for _, text := range texts(step.Get("expect")) {
			found = found || reloads && text == "generation 1"
		}
	}
	return found
}

// onlyKey is the key that all connections of a scenario have, behind a prefix of their path; ok is false if they have
// several, or none.
func onlyKey(scenario *config.Node, prefix string) (key string, ok bool) {
	ok = true
	for _, step := range scenario.Get("steps").Items {
		if open := step.Get("open"); open != nil {
			each(open, func(_ string, target *config.Node) {
				k, has := strings.CutPrefix(target.Scalar.(string), prefix)
				ok = ok && has && (key == "" || k == key)
				key = k
			})
		}
	}
	return key, ok
}

// texts are the text messages of a step for all clients; n is nil for none.
func texts(n *config.Node) []string {
	var all []string
	if n != nil {
		each(n, func(_ string, messages *config.Node) {
			for _, m := range list(messages) {
				if text := m.Get("text"); text != nil {
					all = append(all, fmt.Sprint(text.Scalar))
				}
			}
		})
	}
	return all
}

// each calls f for the clients of a step: a list of names, or a mapping from names.
func each(n *config.Node, f func(name string, value *config.Node)) {
	if n.Kind == config.MapNode {
		for i, key := range n.Keys {
			f(key.Scalar.(string), n.Items[i])
		}
		return
	}
	for _, item := range n.Items {
		f(item.Scalar.(string), nil)
	}
}

// list is a value, or the values of a list.
func list(n *config.Node) []*config.Node {
	if n.Kind == config.ListNode {
		return n.Items
	}
	return []*config.Node{n}
}

func (v *vectors) step(step *config.Node) {
	kind, body := step.Keys[0].Scalar.(string), step.Items[0]
	switch kind {
	case "open":
		each(body, v.open)
	case "send":
		each(body, func(client string, messages *config.Node) {
			for _, m := range list(messages) {
				v.message("send "+client, m)
			}
		})
	case "expect":
		each(body, func(client string, messages *config.Node) {
			for _, m := range list(messages) {
				v.message("expect "+client, m)
			}
		})
	case "close":
		each(body, func(client string, n *config.Node) { v.line("close", client, v.closing(n)) })
	case "abort":
		each(body, func(client string, _ *config.Node) { v.line("abort", client) })
	case "silence":
		if body.Kind == config.TextNode {
			v.advance(body)
			v.line("silence")
			return
		}
		each(body, func(client string, _ *config.Node) { v.line("silence", client) })
	case "advance":
		v.advance(body)
	case "reload":
		v.line("replace")
	case "repeat":
		for i := range body.Get("times").Scalar.(uint64) {
			for _, s := range body.Get("steps").Items {
				v.step(numbered(s, fmt.Sprint(i)))
			}
		}
	case "drain":
		v.line("drain", "60000") // as long as a server takes by default
	default:
		v.t.Fatalf("%s: %s has no line of its own", step.Origin, kind)
	}
}

// numbered is a step of a repetition: ${i} in its texts is i.
func numbered(n *config.Node, i string) *config.Node {
	c := *n
	if text, ok := n.Scalar.(string); ok {
		c.Scalar = strings.ReplaceAll(text, "${i}", i)
	}
	c.Items = nil
	for _, item := range n.Items {
		c.Items = append(c.Items, numbered(item, i))
	}
	return &c
}

func (v *vectors) advance(n *config.Node) {
	d, err := time.ParseDuration(n.Scalar.(string))
	if err != nil {
		v.t.Fatal(err)
	}
	if d > 0 {
		v.line("advance", fmt.Sprint(d.Milliseconds()))
	}
}

func (v *vectors) open(client string, n *config.Node) {
	path, status := "/", ""
	switch {
	case n == nil:
	case n.Kind == config.TextNode:
		path = n.Scalar.(string)
	default:
		path = n.Get("path").Scalar.(string)
		if headers := n.Get("headers"); headers != nil {
			each(headers, func(name string, value *config.Node) { v.line("header", name, word(value.Scalar.(string))) })
		}
		if offers := n.Get("protocols"); offers != nil {
			each(offers, func(name string, _ *config.Node) { v.line("offer", name) })
		}
		if s := n.Get("status"); s != nil {
			status = fmt.Sprint(s.Scalar)
		}
	}
	if status != "" {
		v.line("refused", client, path, status)
		return
	}
	v.line("open", client, path)
}

func (v *vectors) message(what string, n *config.Node) {
	switch kind, body := n.Keys[0].Scalar.(string), n.Items[0]; kind {
	case "text":
		v.line(what, "text", times(n, fmt.Sprint(body.Scalar)))
	case "bytes":
		p, err := hex.DecodeString(strings.ReplaceAll(fmt.Sprint(body.Scalar), " ", ""))
		if err != nil {
			v.t.Fatal(err)
		}
		v.line(what, "binary", times(n, string(p)))
	case "close":
		v.line(what, "close", v.closing(body))
	default:
		v.t.Fatalf("%s: %s has no line of its own", n.Origin, kind)
	}
}

// times is the word for what a message holds, as often as it says.
func times(n *config.Node, s string) string {
	if times := n.Get("times"); times != nil {
		return fmt.Sprintf("r:%x*%v", s, times.Scalar)
	}
	return word(s)
}

// closing is a code, and a reason if one is named.
func (v *vectors) closing(n *config.Node) string {
	text := fmt.Sprint(n.Get("code").Scalar)
	if reason := n.Get("reason"); reason != nil {
		text += " " + word(reason.Scalar.(string))
	}
	return text
}

// plain is a node as json.Marshal knows values.
func plain(n *config.Node) any {
	switch n.Kind {
	case config.ListNode:
		all := []any{}
		for _, item := range n.Items {
			all = append(all, plain(item))
		}
		return all
	case config.MapNode:
		all := map[string]any{}
		for i, key := range n.Keys {
			all[key.Scalar.(string)] = plain(n.Items[i])
		}
		return all
	}
	return n.Scalar
}

// word writes bytes as README.md says, but never cut short.
func word(s string) string {
	switch {
	case s == "":
		return "-"
	case s == "-", strings.HasPrefix(s, "x:"), strings.HasPrefix(s, "r:"), strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }):
		return "x:" + hex.EncodeToString([]byte(s))
	}
	return s
}
