package config

import (
	"fmt"
	"regexp"
	"strings"
)

// Limit is a key that bounds something.
type Limit struct {
	// Key is the key as in a file; of a module in general, modules.NAME.….
	Key string
	// Value is what is in effect, as a configuration file has it; the default where
	// that is in words.
	Value string
	// Default is what leaving the key out means, in words where that is no fixed
	// value.
	Default string
	// Over says what becomes of who exceeds it, such as "close 1009".
	Over string
	// Origin is where the value was written; "default" when it was not.
	Origin string
}

// Limits lists every limit with its default, in the order of docs/config.md.
func Limits() []Limit {
	var all []Limit
	for _, f := range schema() {
		if f.over != "" {
			text := f.limitDefault()
			all = append(all, Limit{readable(f.path), text, text, f.over, Setting{}.Source()})
		}
	}
	return all
}

// Limits lists every limit with the value that is in effect: those of each module,
// and of modules in general when there is none. It is empty when there are
// mistakes.
func (r *Reading) Limits() []Limit {
	if r.Config == nil {
		return nil
	}
	var all []Limit
	var collect func([]Setting)
	collect = func(settings []Setting) {
		for _, s := range settings {
			collect(s.Inside)
			f, ok := fieldOf(s.Key)
			if !ok || f.over == "" || s.Value == nil {
				continue
			}
			l := Limit{s.Key, strings.Trim(s.Text(), `"`), f.limitDefault(), f.over, s.Source()}
			if l.Value == "0" {
				l.Value = l.Default
			}
			all = append(all, l)
		}
	}
	collect(r.Settings())
	if len(r.Config.Modules) > 0 {
		return all
	}
	for _, l := range Limits() {
		if strings.HasPrefix(l.Key, "modules.") {
			all = append(all, l)
		}
	}
	return all
}

var zeroMeans = regexp.MustCompile(`0\s+means\s+((?:[^.:]|\.\d)+)`)

// limitDefault is the default of a limit, in words where it depends on the machine
// or is no bound at all.
func (f field) limitDefault() string {
	m := zeroMeans.FindStringSubmatch(f.comment())
	if m == nil {
		return f.defaultText()
	}
	words := strings.Join(strings.Fields(m[1]), " ")
	if fixed := f.defaultText(); fixed != "" && fixed != "0" && !strings.HasPrefix(words, "the ") {
		return fixed
	}
	return words
}

// LimitsTable is the table of limits and their defaults in Markdown.
func LimitsTable() string {
	var b strings.Builder
	b.WriteString("| limit | default | who exceeds it |\n|---|---|---|\n")
	for _, l := range Limits() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", l.Key, l.Default, l.Over)
	}
	return b.String()
}
