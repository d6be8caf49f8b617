package scenario

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const page = "../../docs/scenarios.md"

var tables = map[string]*shape{
	"file": documentShape, "scenario": scenarioShape, "step": stepShape, "opening": openShape.either[1], "message": messageShape,
	"match": matchShape, "repeat": repeatShape, "assert": assertShape, "state": stateShape,
}

var tableMark = regexp.MustCompile(`(?s)<!-- grammar: (\w+) -->\n.*?<!-- end -->`)

// The tables of the page are made from the grammar. -update writes them.
func TestThePageIsCurrent(t *testing.T) {
	want := string(mustRead(page))
	got := tableMark.ReplaceAllStringFunc(want, func(old string) string {
		name := tableMark.FindStringSubmatch(old)[1]
		s := tables[name]
		if s == nil {
			t.Fatalf("the page has a table of %q, which is unknown", name)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "<!-- grammar: %s -->\n| key | value | |\n|---|---|---|\n", name)
		for _, f := range s.fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, strings.ReplaceAll(f.shape.is, "|", `\|`), strings.ReplaceAll(f.doc, "|", `\|`))
		}
		return b.String() + "<!-- end -->"
	})
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Error("the tables of docs/scenarios.md are not what the grammar says; write them with\n\tgo test ./internal/scenario -run TestThePageIsCurrent -update")
	}
}

// testEngine is shared by all tests; TestMain closes it.
var testEngine = sync.OnceValue(func() *Engine {
	e, err := NewEngine(EngineOptions{})
	if err != nil {
		panic(err)
	}
	return e
})

func play(t *testing.T, f *File, o Options) Report {
	t.Helper()
	o.Engine = testEngine()
	return f.Run(context.Background(), o)
}

var pageExample = regexp.MustCompile("(?m)(?:^<!-- (guest|files): (\\S+) -->\n)?^```yaml\n((?s:.*?))^```$")

// Everything that the page shows is played. Steps without a file around them are
// played against the chat, or against the guest that a comment names.
func TestEveryExampleOfThePageIsTrue(t *testing.T) {
	examples := pageExample.FindAllStringSubmatch(string(mustRead(page)), -1)
	kinds := map[string]bool{}
	for i, m := range examples {
		document, guest := m[3], "chat"
		if m[1] == "guest" {
			guest = m[2]
		}
		if strings.HasPrefix(document, "- ") {
			document = "module: " + guest + ".wasm\nscenarios:\n- name: example\n  steps:\n  " + strings.ReplaceAll(document, "\n", "\n  ")
		}
		t.Run(fmt.Sprintf("%d", i+1), func(t *testing.T) {
			f, err := Load("s.yaml", readFrom(map[string]string{
				"s.yaml":    document,
				"weir.yaml": "modules: {chat: {path: chat.wasm, capabilities: [topics]}}\nroutes: [{path: '/chat/{room}', module: chat}]",
			}))
			if err != nil {
				t.Fatalf("%v\nin\n%s", err, document)
			}
			for _, r := range play(t, f, Options{}).Results {
				if r.Failure != nil {
					t.Errorf("%s\n%v\n%s", r.Name, r.Failure, strings.Join(r.Log, "\n"))
				}
			}
			for _, s := range f.Scenarios {
				for _, p := range s.steps {
					kinds[p.kind] = true
				}
			}
		})
	}
	for _, kind := range stepShape.exactly {
		if !kinds[kind] {
			t.Errorf("the page has no example of %s", kind)
		}
	}
}
