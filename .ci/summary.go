// Summary reads what `go test -json` prints, of any number of runs one after
// another, and says it for people: a line a package, the whole output of what
// failed, every skipped test with its reason, and the counts.
//
//	go test -json ./... | go run .ci/summary.go -label test
//
// It exits with 1 when anything failed. A run that ends badly without naming a
// test (it did not compile, a leak was found after the last test) counts as one
// failure. With -append the counts are also added to a file as a line
// "passed failed skipped".
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// event is what `go test -json` prints (go doc test2json), and "exit", which
// the Makefile prints when go test itself fails.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

type result struct{ passed, failed, skipped int }

type summary struct {
	total   result
	output  map[string][]string // by package, or package and test
	inside  map[string]bool     // tests with subtests: these are counted instead
	broken  map[string]bool     // tests of which a subtest failed
	perPack map[string]*result
	skips   []string
	before  int  // failures counted when the last run ended
	broke   bool // something failed that is no test
}

func main() {
	label := flag.String("label", "", "a word before the counts")
	appendTo := flag.String("append", "", "a file that gets the counts too")
	flag.Parse()

	s := summary{output: map[string][]string{}, inside: map[string]bool{}, broken: map[string]bool{}, perPack: map[string]*result{}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		s.add(e)
	}
	if err := lines.Err(); err != nil {
		fmt.Println("summary:", err)
		s.broke = true
	}
	if len(s.skips) > 0 {
		fmt.Printf("\nskipped:\n%s\n", strings.Join(s.skips, "\n"))
	}
	if *label != "" {
		*label += ": "
	}
	t := s.total
	fmt.Printf("\n%s%d passed, %d failed, %d skipped\n", *label, t.passed, t.failed, t.skipped)
	if *appendTo != "" {
		if err := appendLine(*appendTo, fmt.Sprintln(t.passed, t.failed, t.skipped)); err != nil {
			fmt.Println("summary:", err)
			s.broke = true
		}
	}
	if s.broke || t.failed > 0 {
		os.Exit(1)
	}
}

func appendLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(line); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (s *summary) add(e event) {
	switch {
	case e.Action == "exit":
		if s.total.failed == s.before { // it failed without naming a test
			s.total.failed++
		}
		s.before = s.total.failed
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Package == "":
	case e.Test == "":
		s.addPackage(e)
	default:
		s.addTest(e)
	}
}

func (s *summary) addTest(e event) {
	p := s.perPack[e.Package]
	if p == nil {
		p = &result{}
		s.perPack[e.Package] = p
	}
	key := e.Package + " " + e.Test
	outer := ""
	if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
		outer = e.Package + " " + e.Test[:i]
		s.inside[outer] = true
	}
	switch e.Action {
	case "output":
		s.output[key] = append(s.output[key], e.Output)
		return
	case "pass":
		if !s.inside[key] {
			p.passed++
		}
	case "skip":
		if !s.inside[key] {
			p.skipped++
			s.skips = append(s.skips, "  "+key+": "+reason(s.output[key]))
		}
	case "fail":
		if !s.broken[key] {
			p.failed++
		}
		if outer != "" {
			s.broken[outer] = true
		}
		fmt.Print(strings.Join(s.output[key], ""))
	default:
		return
	}
	delete(s.output, key)
}

func (s *summary) addPackage(e event) {
	if e.Action == "output" {
		s.output[e.Package] = append(s.output[e.Package], e.Output)
		return
	}
	if e.Action != "pass" && e.Action != "fail" && e.Action != "skip" {
		return
	}
	p := s.perPack[e.Package]
	if p == nil {
		p = &result{}
	}
	if e.Action == "fail" {
		if p.failed == 0 {
			p.failed = 1
		}
		s.printUnfinished(e.Package)
		fmt.Print(strings.Join(s.output[e.Package], ""))
	} else if p.passed+p.skipped > 0 {
		fmt.Printf("ok    %-32s %6.1fs  %d tests\n", e.Package, e.Elapsed, p.passed)
	}
	s.total.passed += p.passed
	s.total.failed += p.failed
	s.total.skipped += p.skipped
	delete(s.perPack, e.Package)
	delete(s.output, e.Package)
}

// printUnfinished shows what the tests had printed that were running when the
// package's process died.
func (s *summary) printUnfinished(pkg string) {
	var keys []string
	for key := range s.output {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Print(strings.Join(s.output[key], ""))
		delete(s.output, key)
	}
}

// reason is what t.Skip said, without the place.
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, said, ok := strings.Cut(after, ": "); ok {
				return said
			}
		}
		return line
	}
	return "no reason given"
}
