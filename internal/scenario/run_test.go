package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustLoad(t *testing.T, document string) *File {
	t.Helper()
	f, err := load(document)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps string
		want  []string // parts of the failure
	}{
		{"another text", "- open: [ann]\n- send: {ann: {text: echo a}}\n- expect: {ann: {text: b}}", []string{
			`s.yaml:7: - expect: {ann: {text: b}}`, `expected  ann: text "b"`, `got       text "a"`, `> text "echo a"`, `< text "a"`,
			`again     weir test s.yaml -run '^a$' --seed 1`}},
		{"nothing in time", "- open: [ann]\n- expect: {ann: {text: b, within: 3s}}", []string{`got       nothing within 3s`}},
		{"nothing in the time that there is without within", "- open: [ann]\n- send: {ann: {text: timer 1 150 0}}\n- expect: {ann: {text: timer=1}}", []string{`got       nothing within 100ms`}},
		{"nothing in the time of the step", "- open: [ann]\n- send: {ann: {text: timer 1 2500 0}}\n- expect: {ann: {text: timer=1}}\n  within: 2s", []string{`got       nothing within 2s`}},
		{"a text instead of bytes", "- open: [ann]\n- send: {ann: {text: echo a}}\n- expect: {ann: {bytes: \"61\"}}", []string{`expected  ann: bytes 61`, `got       text "a"`}},
		{"JSON that differs", "- open: [ann]\n- send: {ann: {text: 'echo {\"a\":[1,{\"b\":2}],\"c\":true,\"d\":null}'}}\n- expect: {ann: {json: {a: [1, {b: 3}], c: false, e: x}}}", []string{
			`differs   a[1].b: expected 3, got 2`, `c: expected false, got true`, `e: expected "x", but there is no such key`}},
		{"JSON with a key too many", "- open: [ann]\n- send: {ann: {text: 'echo {\"a\":1,\"b\":2}'}}\n- expect: {ann: {json_exact: {a: 1}}}", []string{`b: got 2, and expected no such key`}},
		{"what is no JSON", "- open: [ann]\n- send: {ann: {text: echo hello}}\n- expect: {ann: {json: {}}}", []string{`it is not JSON: `}},
		{"a message before the end", "- open: [ann]\n- send: {ann: {text: echo a;close 4000 bye}}\n- expect: {ann: {close: {code: 4000}}}", []string{`expected  ann: close 4000`, `got       text "a"`}},
		{"another close code", "- open: [ann]\n- send: {ann: {text: close 4000 bye}}\n- expect: {ann: {close: {code: 4001}}}", []string{`got       close 4000 "bye"`}},
		{"another reason", "- open: [ann]\n- send: {ann: {text: close 4000 bye}}\n- expect: {ann: {close: {code: 4000, reason: /^good/}}}", []string{`expected  ann: close 4000 with text that matches /^good/`}},
		{"an end instead of a message", "- open: [ann]\n- send: {ann: {text: trap}}\n- expect: {ann: {text: a}}", []string{`got       close 1011`}},
		{"one message too few", "- open: [ann]\n- send: {ann: {text: repeat 2 a}}\n- expect: {ann: {text: a, count: 3}}", []string{`expected  ann: text "a", message 3 of 3`}},
		{"another message in any order", "- open: [ann]\n- send: {ann: {text: echo a;echo b}}\n- expect: {ann: {any_order: [{text: c}, {text: a}]}}", []string{`in any order, 2 messages:`, `got       text "b", message 2 of them`}},
		{"noise", "- open: [ann]\n- send: {ann: {text: timer 1 500 0}}\n- silence: {ann: 2s}", []string{`expected  ann hears nothing for 2s`, `got       text "timer=1" after 5`}},
		{"noise of before", "- open: [ann]\n- send: {ann: {text: echo a}}\n- silence: 1s", []string{`got       text "a" after 0s`}},
		{"an end is noise", "- open: [ann]\n- send: {ann: {text: close 4000 bye}}\n- silence: [ann]", []string{`got       close 4000 "bye"`}},
		{"a status", "- open: {ann: /?reject=403}", []string{`expected  ann: status 101`, `got       status 403`}},
		{"a status that was let in", "- open: [ann]\n- expect: {ann: {status: 403}}", []string{`got       status 101`}},
		{"a protocol", "- open: [ann]\n- expect: {ann: {protocol: a}}", []string{`expected  ann: protocol "a"`, `got       protocol ""`}},
		{"a name that is taken", "- open: [ann]\n- open: [ann]", []string{`got       client ann is connected already`}},
		{"a message of who has gone", "- open: [ann]\n- abort: [ann]\n- send: {ann: {text: a}}", []string{`expected  ann can send`}},
		{"what the server holds", "- open: [ann]\n- send: {ann: {text: join x;set hello}}\n- assert: {topics: {x: 2, y: 0}, connections: 3, state: {ann: {text: bye}}, metrics: {messages_received: 5}}", []string{
			"topic x: 2\n            connections: 3\n            messages_received: 5\n            state of ann: text \"bye\"", "topic x: 1\n            connections: 1\n            messages_received: 1\n            state of ann: text \"hello\""}},
		{"a long message, cut short", "- open: [ann]\n- send: {ann: {text: echo ab}}\n- expect: {ann: {text: ab, times: 5000}}", []string{`expected  ann: text "ababab`, `… (10007 bytes)`, `got       text "ab"`}},
		{"the turn of a repeat", "- open: [ann]\n- repeat: {times: 3, steps: [{send: {ann: {text: \"echo ${i}\"}}}, {expect: {ann: {text: '/0|1/'}}}]}", []string{`(turn 3 of 3)`, `got       text "2"`}},
		{"a file that the server refuses", "- open: [ann]\n- reload: s.yaml", []string{`expected  s.yaml becomes the next generation`, `module "m"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := mustLoad(t, inSteps("  "+strings.ReplaceAll(tc.steps, "\n", "\n  ")))
			r := play(t, f, Options{})
			if r.Results[0].Failure == nil {
				t.Fatal("it passed")
			}
			got := r.Results[0].Failure.String()
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
		})
	}
}

func TestWhatPasses(t *testing.T) {
	for _, tc := range []struct{ name, steps string }{
		{"time stops when what was expected has come", "- open: [ann]\n- send: {ann: {text: timer 1 500 0;timer 2 900 0}}\n- expect: {ann: {text: timer=1, within: 1h}}\n- silence: {ann: 300ms}\n- expect: {ann: {text: timer=2}}"},
		{"each of several messages has its time", "- open: [ann]\n- send: {ann: {text: timer 1 10000 10000}}\n- expect: {ann: {text: timer=1, count: 20, within: 11s}}"},
		{"clients are waited for together", "- open: [ann, bob]\n- send: {ann: {text: timer 1 2000 0}, bob: {text: timer 2 1000 0}}\n- expect: {ann: {text: timer=1}, bob: {text: timer=2}}\n  within: 2100ms"},
		{"any order finds the one way", "- open: [ann]\n- send: {ann: {text: echo a;echo b;echo ab}}\n- expect: {ann: {any_order: [{text: /b/}, {text: /./}, {text: /a/}]}}"},
		{"any order gives up a place that another needs", "- open: [ann]\n- send: {ann: {text: echo ab;echo b}}\n- expect: {ann: {any_order: [{text: /b/}, {text: /a/}]}}"},
		{"numbers are what they stand for", "- open: [ann]\n- send: {ann: {text: 'echo {\"a\":2.50,\"b\":1e0}'}}\n- expect: {ann: {json_exact: {a: 2.5, b: 1}}}"},
		{"a variable in quotes stays a text", "- open: [ann]\n- repeat: {times: 1, steps: [{send: {ann: {text: 'echo {\"n\":\"0\"}'}}}, {expect: {ann: {json: {n: \"${i}\"}}}}]}"},
		{"an end without a Close frame is 1006", "- open: [ann]\n- half_close: [ann]\n- expect: {ann: {close: {code: 1006}}}"},
		{"one's own end is no noise", "- open: [ann, bob, eve]\n- close: [ann]\n- abort: [bob]\n- half_close: [eve]\n- silence: 1s"},
		{"an end that was expected is no noise", "- open: [ann]\n- send: {ann: {text: close 4000 bye}}\n- expect: {ann: {close: {}}}\n- silence: 1s"},
		{"a name comes again", "- open: [ann]\n- abort: [ann]\n- open: [ann]\n- send: {ann: {text: echo a}}\n- expect: {ann: {text: a}}"},
		{"a refusal may be met by the next step", "- open: {ann: /?reject=403}\n- expect: {ann: {status: 403}}"},
		{"a trap ends its connection only", "- open: [ann, bob]\n- send: {ann: {text: trap}}\n- expect: {ann: {close: {code: 1011}}}\n- send: {bob: {text: echo a}}\n- expect: {bob: {text: a}}\n- assert: {metrics: {handler_failures: 1}}"},
		{"fuel, not time, stops a handler", "- open: [ann]\n- send: {ann: {text: spin 1000000000}}\n- expect: {ann: {close: {code: 1011}}}"},
		{"a long message is made by repetition", "- open: [ann]\n- send: {ann: [{times: 9, text: 'echo a;'}, {text: echo aaaaaaaaa}]}\n- expect: {ann: [{text: a, count: 9}, {text: a, times: 9}]}"},
		{"a number in JSON from a repeat", "- open: [ann]\n- repeat:\n    times: 2\n    steps:\n    - send: {ann: {text: \"echo {\\\"n\\\":${i}}\"}}\n    - expect:\n        ann:\n          json_exact:\n            n: ${i}"},
		{"silence without clients is only time", "- silence: 1h\n- open: [ann]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := mustLoad(t, inSteps("  "+strings.ReplaceAll(tc.steps, "\n", "\n  ")))
			if failure := play(t, f, Options{}).Results[0].Failure; failure != nil {
				t.Error(failure)
			}
		})
	}
}

// What an hour costs, BenchmarkAnHour says.
func TestAnHourOfTicksIsExact(t *testing.T) {
	f := mustLoad(t, inSteps("  - open: [ann]\n  - send: {ann: {text: timer 7 15000 15000}}\n  - expect: {ann: {text: timer=7, count: 240, within: 15s}}\n"))
	r := play(t, f, Options{}).Results[0]
	if r.Failure != nil || r.Virtual != time.Hour {
		t.Fatalf("%v after %v", r.Failure, r.Virtual)
	}
}

// One virtual hour with 240 firings of one timer, the world's making included.
func BenchmarkAnHour(b *testing.B) {
	f, err := load(inSteps("  - open: [ann]\n  - send: {ann: {text: timer 7 15000 15000}}\n  - expect: {ann: {text: timer=7, count: 240, within: 15s}}\n"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := f.Run(context.Background(), Options{Engine: testEngine()}); r.Results[0].Failure != nil {
			b.Fatal(r.Results[0].Failure)
		}
	}
}

func TestADelayIsTheTimeBeforeEachPiece(t *testing.T) {
	r := play(t, mustLoad(t, inSteps("  - open: [ann]\n  - send: {ann: {text: echo a, split: 4, delay: 1s}}\n  - expect: {ann: {text: a}}\n")), Options{}).Results[0]
	if r.Failure != nil || r.Virtual != 3*time.Second { // a frame of twelve bytes
		t.Errorf("%v after %v, want 3s", r.Failure, r.Virtual)
	}
}

// Whoever connects first has the first address.
func TestTogetherIsInAnOrderOfTheSeed(t *testing.T) {
	f := mustLoad(t, inSteps("  - together: [{open: [ann]}, {open: [bob]}]\n  - send: {ann: {text: attr remote_addr}}\n  - expect: {ann: {text: /10.0.0.0/}}\n"))
	first := 0
	for seed := range uint64(20) {
		if play(t, f, Options{Seed: seed, SetSeed: true}).Results[0].Passed() {
			first++
		}
	}
	if first == 0 || first == 20 {
		t.Errorf("ann came first %d times of 20", first)
	}
}

// chancy has much that is left to chance.
const chancy = "module: m.wasm\nscenarios:\n- name: a\n  steps:\n" +
	"  - faults: [split, delay, choke, spurious, stale, preempt]\n" +
	"  - together: [{open: [ann, bob, eve]}, {send: {ann: {text: join x}, bob: {text: join x}, eve: {text: join x}}}]\n" +
	"  - together: [{send: {ann: {text: publish x a}, bob: {text: publish x b}, eve: {text: publish x e}}}]\n" +
	"  - advance: 10s\n"

// Worlds share an engine and nothing else: side by side or alone, a seed is one
// run. With the race detector this is the hammer of Engine.
func TestASeedIsOneRun(t *testing.T) {
	f := mustLoad(t, chancy)
	hashes := map[uint64]uint64{}
	for seed := range uint64(4) {
		hashes[seed] = play(t, f, Options{Seed: seed, SetSeed: true}).Results[0].Hash
	}
	if hashes[0] == hashes[1] && hashes[1] == hashes[2] && hashes[2] == hashes[3] {
		t.Errorf("four seeds make one run: %v", hashes)
	}
	var wg sync.WaitGroup
	for i := range uint64(16) {
		wg.Go(func() {
			r := f.Run(context.Background(), Options{Engine: testEngine(), Seed: i % 4, SetSeed: true})
			if one := r.Results[0]; one.Failure != nil || one.Hash != hashes[i%4] {
				t.Errorf("seed %d: %v, hash %x, want %x", i%4, one.Failure, one.Hash, hashes[i%4])
			}
		})
	}
	wg.Wait()
}

func TestWhichScenariosArePlayed(t *testing.T) {
	const document = "module: m.wasm\nscenarios:\n- {name: one, steps: [{open: [ann]}]}\n- {name: two, skip: not yet, steps: [{open: [ann]}]}\n- {name: three, steps: [{open: [ann]}]}\n"
	outcome := func(document string, o Options) string {
		var all []string
		for _, r := range play(t, mustLoad(t, document), o).Results {
			all = append(all, fmt.Sprintf("%s:%s:%v", r.Name, r.Skipped, r.Passed()))
		}
		return strings.Join(all, " ")
	}
	if got, want := outcome(document, Options{}), "one::true two:not yet:false three::true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := outcome(document, Options{Run: regexp.MustCompile("^t")}), "two:not yet:false three::true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	only := strings.Replace(document, "name: three", "name: three, only: true", 1)
	if got, want := outcome(only, Options{}), "one:another scenario says only:false two:not yet:false three::true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhatAHandlerLogsIsInTheResultOfItsScenario(t *testing.T) {
	// The guest logs its name while it is loaded and with each message, and fails.
	const document = "module: early.wasm\nscenarios:\n" +
		"- {name: one, steps: [{open: [ann]}, {send: {ann: {text: a}}}]}\n" +
		"- {name: two, steps: [{open: [ann]}, {send: {ann: {text: a}}}]}\n"
	early := string(mustRead("../../runtime/testdata/early.wasm"))
	f, err := Load("s.yaml", readFrom(map[string]string{"s.yaml": document, "early.wasm": early}))
	if err != nil {
		t.Fatal(err)
	}
	r := play(t, f, Options{Verbose: true})
	one, two := strings.Join(r.Results[0].Log, "\n"), strings.Join(r.Results[1].Log, "\n")
	if one != two || !strings.Contains(one, "INFO  early module=early gen=1") || !strings.Contains(one, "handler failed") {
		t.Errorf("the first logged\n%s\nthe second\n%s", one, two)
	}
}

func TestARunThatIsCutShortFails(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := mustLoad(t, inSteps("  - advance: 80000h\n")).Run(ctx, Options{Engine: testEngine()})
	if f := r.Results[0].Failure; f == nil || !strings.Contains(f.String(), "the run was cut short") {
		t.Errorf("got %v", f)
	}
}

func TestAModuleThatDoesNotLoadFailsItsScenarios(t *testing.T) {
	f, err := Load("s.yaml", readFrom(map[string]string{"x.wasm": "hello", "s.yaml": "module: x.wasm\nscenarios: [{name: a, steps: [{open: [ann]}]}]"}))
	if err != nil {
		t.Fatal(err)
	}
	if failure := play(t, f, Options{}).Results[0].Failure; failure == nil || !strings.Contains(failure.String(), `"x"`) {
		t.Errorf("got %v", failure)
	}
}
