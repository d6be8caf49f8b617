package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// flat writes a node as one line: kinds are seen by how they look.
func flat(n *Node) string {
	switch n.Kind {
	case ListNode:
		var all []string
		for _, item := range n.Items {
			all = append(all, flat(item))
		}
		return "[" + strings.Join(all, " ") + "]"
	case MapNode:
		var all []string
		for i, k := range n.Keys {
			all = append(all, fmt.Sprintf("%s@%d:%d=%s", k.Scalar, k.Origin.Line, k.Origin.Column, flat(n.Items[i])))
		}
		return "{" + strings.Join(all, " ") + "}"
	case TextNode:
		if n.Quoted {
			return fmt.Sprintf("%q!", n.Scalar)
		}
		return fmt.Sprintf("%q", n.Scalar)
	default:
		return fmt.Sprint(n.Scalar)
	}
}

func TestParseNode(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"an empty document", " ", "<nil>"},
		{"scalars", `[a, "a", 'a', 1, -1, 1.5, 0x10, true, ~, "1"]`, `["a" "a"! "a"! 1 -1 1.5 16 true <nil> "1"!]`},
		{"a block of text", "a: |\n  one\n  two\n", `{a@1:1="one\ntwo\n"!}`},
		{"keys are texts, with their places", "a:\n  b: 1\n  3: {true: x}\n", `{a@1:1={b@2:3=1 3@3:3={true@3:7="x"}}}`},
		{"an alias stands for its anchor", "a: &x [1, 2]\nb: *x\n", `{a@1:1=[1 2] b@2:1=[1 2]}`},
		{"what looks like a variable is a text", "a: ${i}\nb: x${i}y\n", `{a@1:1="${i}" b@2:1="x${i}y"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, err := ParseNode("x.yaml", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := flat(n); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestParseNodeRefuses(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10))
	}
	for _, tc := range []struct{ name, text, want string }{
		{"what is no YAML", "a: [1", "x.yaml:1:4: "},
		{"two documents", "a: 1\n---\nb: 2\n", "one document is enough"},
		{"a key that comes twice", "a: 1\na: 2\n", `x.yaml:2:1: mapping key "a" already defined`},
		{"a key that comes twice, once in quotes", "1: a\n\"1\": b\n", `x.yaml:2:1: mapping key "1" already defined`},
		{"a merge key", "<<: {a: 1}\n", "x.yaml:1:1: merge keys (<<) are not known here"},
		{"a tag", "a: !!str 3\n", "x.yaml:1:4: tags such as !!str mean nothing here"},
		{"an alias of nothing", "a: *x\n", "there is no anchor &x before this alias"},
		{"an alias of itself", "a: &x [*x]\n", "the document is too large or too deep"},
		{"aliases that multiply", bomb, "the document is too large or too deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseNode("x.yaml", []byte(tc.text))
			if _, ok := errors.AsType[Mistake](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte("a: {b: [1, \"x\", ~, *a], c: &a {d: 1.5}}\n"))
	f.Add([]byte("a: &x [*x]\n<<: {}\n? [k]\n: v\n"))
	f.Add([]byte("a: |\n  b\nc: >-\n  d\n!!str e: f\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return
		}
		n, err := ParseNode("x.yaml", text)
		if err == nil {
			flat(n) // every kind has its scalar
			return
		}
		if _, ok := errors.AsType[Mistake](err); !ok {
			t.Errorf("%v is no Mistake", err)
		}
	})
}
