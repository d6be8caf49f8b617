package scenario

import (
	"fmt"
	"strings"
	"time"
)

// Report says how a file went.
type Report struct {
	File    string
	Seed    uint64 // that was used
	Results []Result
}

// Result says how one scenario went. It passed unless it was skipped or failed.
type Result struct {
	Name    string
	Line    int           // in the file
	Skipped string        // why; empty when it was played
	Virtual time.Duration // time that went by in its world
	Real    time.Duration // that it took
	Failure *Failure      // nil unless it failed
	// Hash is over everything that could be observed: the same for each run of one
	// seed.
	Hash uint64
	// Traffic and Log are there when it failed, or with Options.Verbose.
	Traffic []Traffic
	Log     []string
}

// Passed reports that it was played and did not fail.
func (r Result) Passed() bool { return r.Failure == nil && r.Skipped == "" }

// Failure is a step that went otherwise than it says.
type Failure struct {
	File   string
	Line   int // of the step, from 1
	Column int // 0: not known
	// Step is the step's line in the file; empty when the world could not be made.
	Step string
	// Expected and Got may have several lines.
	Expected, Got string
	// Diff says what is different within JSON, one line a key.
	Diff []string
	// At is when, since the world began.
	At time.Duration
	// Traffic is that of the clients concerned.
	Traffic []Traffic
	// Repeat is a command that plays it again.
	Repeat string
}

// Traffic is what went over a client's connection last, oldest first: '>' from
// the client, '<' from the server.
type Traffic struct {
	Client string
	Lines  []string
}

// String tells everything, in several lines, without what the handler logged.
func (f *Failure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s\n", f.File, f.Line, f.Step)
	block := func(name, text string) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, strings.ReplaceAll(text, "\n", "\n            "))
	}
	block("expected", f.Expected)
	block("got", f.Got)
	if len(f.Diff) > 0 {
		block("differs", strings.Join(f.Diff, "\n"))
	}
	for _, t := range f.Traffic {
		block(t.Client, strings.Join(t.Lines, "\n"))
	}
	if f.Repeat != "" {
		block("again", f.Repeat)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Totals sums results up.
type Totals struct {
	Passed, Failed, Skipped int
	Virtual                 time.Duration
}

// Add counts a report.
func (t *Totals) Add(r Report) {
	for _, one := range r.Results {
		switch {
		case one.Skipped != "":
			t.Skipped++
		case one.Failure != nil:
			t.Failed++
		default:
			t.Passed++
		}
		t.Virtual += one.Virtual
	}
}

// quote writes a word as a shell takes it.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
