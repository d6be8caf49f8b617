package cli

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"weir/internal/scenario"
)

// testOutput tells the results of weir test.
type testOutput struct {
	env    *Env
	flags  *testFlags
	totals scenario.Totals
	files  []fileResult // for json
	suites []junitSuite // for --junit
	err    error        // the first of writing
}

func newTestOutput(env *Env, f *testFlags) *testOutput { return &testOutput{env: env, flags: f} }

// file tells of one file.
func (o *testOutput) file(r scenario.Report) {
	o.totals.Add(r)
	if len(r.Results) == 0 {
		return
	}
	if o.flags.junit != "" {
		o.suites = append(o.suites, junitOf(r))
	}
	switch o.flags.output {
	case "text":
		o.text(r)
	case "json":
		o.files = append(o.files, fileOf(r))
	case "ndjson":
		for i := range r.Results {
			o.encode(scenarioOf(r, &r.Results[i]))
		}
	}
}

func (o *testOutput) encode(v any) {
	e := json.NewEncoder(o.env.Stdout)
	e.SetEscapeHTML(false)
	o.note(e.Encode(v))
}

func (o *testOutput) note(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *testOutput) printf(format string, args ...any) {
	_, err := fmt.Fprintf(o.env.Stdout, format, args...)
	o.note(err)
}

// text is the form for people.
func (o *testOutput) text(r scenario.Report) {
	o.printf("%s\n", r.File)
	width := 0
	for _, one := range r.Results {
		width = max(width, min(len([]rune(one.Name)), 70))
	}
	for i := range r.Results {
		one := &r.Results[i]
		if one.Skipped != "" {
			o.printf("  skip  %s (%s)\n", one.Name, one.Skipped)
			continue
		}
		verdict := "ok"
		if one.Failure != nil {
			verdict = "FAIL"
		}
		o.printf("  %-4s  %-*s  %8s virtual  %s\n", verdict, width, one.Name, virtualText(one.Virtual), durationText(one.Real))
		if one.Failure != nil {
			o.printf("%s\n", indent(one.Failure.String(), "        "))
		}
		if o.flags.verbose && one.Failure == nil {
			for _, t := range one.Traffic {
				o.printf("          %s\n%s\n", t.Client, indent(strings.Join(t.Lines, "\n"), "          "))
			}
		}
		if len(one.Log) > 0 {
			o.printf("          log\n%s\n", indent(strings.Join(one.Log, "\n"), "            "))
		}
	}
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) }

// end sums up.
func (o *testOutput) end(took time.Duration) error {
	t := o.totals
	switch o.flags.output {
	case "text":
		if o.flags.seed == "random" {
			o.printf("seed %d\n", o.flags.number)
		}
		o.printf("%d passed, %d failed, %d skipped in %s (%s of virtual time)\n", t.Passed, t.Failed, t.Skipped, durationText(took), virtualText(t.Virtual))
	case "json":
		o.encode(struct {
			Files []fileResult `json:"files"`
			testSummary
		}{o.files, summaryOf(t, took)})
	case "ndjson":
		o.encode(struct {
			Summary testSummary `json:"summary"`
		}{summaryOf(t, took)})
	}
	if o.flags.junit != "" {
		o.note(o.writeJunit(took))
	}
	return o.err
}

// virtualText is a virtual duration for people: 0 s, 250 ms, 2 h 3 min.
func virtualText(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// The JSON of -o json and ndjson; the keys stay as they are.
type (
	fileResult struct {
		File      string           `json:"file"`
		Seed      uint64           `json:"seed"`
		Scenarios []scenarioResult `json:"scenarios"`
	}
	scenarioResult struct {
		File      string          `json:"file"`
		Line      int             `json:"line"`
		Name      string          `json:"name"`
		Seed      uint64          `json:"seed"`
		Result    string          `json:"result"` // passed, failed or skipped
		Reason    string          `json:"reason,omitempty"`
		VirtualMS float64         `json:"virtual_ms"`
		RealMS    float64         `json:"real_ms"`
		Hash      string          `json:"hash,omitempty"`
		Failure   *failureResult  `json:"failure,omitempty"`
		Traffic   []trafficResult `json:"traffic,omitempty"`
		Log       []string        `json:"log,omitempty"`
	}
	failureResult struct {
		Line     int      `json:"line"`
		Column   int      `json:"column,omitempty"`
		Step     string   `json:"step"`
		Expected string   `json:"expected"`
		Got      string   `json:"got"`
		Diff     []string `json:"diff,omitempty"`
		AtMS     float64  `json:"at_ms"`
		Repeat   string   `json:"repeat"`
	}
	trafficResult struct {
		Client string   `json:"client"`
		Lines  []string `json:"lines"`
	}
	testSummary struct {
		Passed    int     `json:"passed"`
		Failed    int     `json:"failed"`
		Skipped   int     `json:"skipped"`
		VirtualMS float64 `json:"virtual_ms"`
		RealMS    float64 `json:"real_ms"`
	}
)

func msOf(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func summaryOf(t scenario.Totals, took time.Duration) testSummary {
	return testSummary{t.Passed, t.Failed, t.Skipped, msOf(t.Virtual), msOf(took)}
}

func fileOf(r scenario.Report) fileResult {
	f := fileResult{File: r.File, Seed: r.Seed}
	for i := range r.Results {
		f.Scenarios = append(f.Scenarios, scenarioOf(r, &r.Results[i]))
	}
	return f
}

func scenarioOf(r scenario.Report, one *scenario.Result) scenarioResult {
	s := scenarioResult{
		File: r.File, Line: one.Line, Name: one.Name, Seed: r.Seed, Result: "passed", Reason: one.Skipped,
		VirtualMS: msOf(one.Virtual), RealMS: msOf(one.Real), Log: one.Log,
	}
	for _, t := range one.Traffic {
		s.Traffic = append(s.Traffic, trafficResult(t))
	}
	switch f := one.Failure; {
	case one.Skipped != "":
		s.Result = "skipped"
		return s
	case f != nil:
		s.Result = "failed"
		s.Failure = &failureResult{f.Line, f.Column, f.Step, f.Expected, f.Got, f.Diff, msOf(f.At), f.Repeat}
	}
	s.Hash = fmt.Sprintf("%016x", one.Hash)
	return s
}

// JUnit's XML, as much of it as CI servers read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitSkipped `xml:"skipped"`
		Failure *junitFailure `xml:"failure"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func junitOf(r scenario.Report) junitSuite {
	suite := junitSuite{Name: r.File, Tests: len(r.Results)}
	var took time.Duration
	for _, one := range r.Results {
		c := junitCase{Name: one.Name, Class: r.File, File: r.File, Line: one.Line, Time: secondsText(one.Real)}
		took += one.Real
		switch {
		case one.Skipped != "":
			suite.Skipped++
			c.Skipped = &junitSkipped{one.Skipped}
		case one.Failure != nil:
			suite.Failures++
			c.Failure = &junitFailure{fmt.Sprintf("%s:%d: expected %s, got %s", r.File, one.Failure.Line, one.Failure.Expected, one.Failure.Got), one.Failure.String()}
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = secondsText(took)
	return suite
}

func secondsText(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

func (o *testOutput) writeJunit(took time.Duration) error {
	all := junitSuites{Tests: o.totals.Passed + o.totals.Failed + o.totals.Skipped, Failures: o.totals.Failed, Skipped: o.totals.Skipped,
		Time: secondsText(took), Suites: o.suites}
	var b strings.Builder
	io.WriteString(&b, xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	err := errors.Join(e.Encode(all), e.Close())
	if err != nil {
		return err
	}
	if err := o.env.WriteFile(o.flags.junit, []byte(b.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}
