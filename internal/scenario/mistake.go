package scenario

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/config"
)

// Mistake is one thing wrong with a file. Load returns all of them, joined, in
// the order of the file.
type Mistake struct {
	config.Mistake
	// Excerpt is the line of the file where it stands.
	Excerpt string
}

// Error names the place and the key, and shows the line.
func (m Mistake) Error() string {
	if m.Excerpt == "" {
		return m.Mistake.Error()
	}
	number := fmt.Sprintf("%5d | ", m.Origin.Line)
	return m.Mistake.Error() + "\n" + number + m.Excerpt + "\n" + strings.Repeat(" ", len(number)-2) + "| " + marker(m.Excerpt, m.Origin.Column)
}

// Unwrap gives the mistake without its excerpt.
func (m Mistake) Unwrap() error { return m.Mistake }

// marker points at a column, tabs kept.
func marker(line string, column int) string {
	var b strings.Builder
	for _, r := range line {
		if column--; column <= 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String() + "^"
}

// mistakes gathers what is wrong with a file.
type mistakes struct {
	name  string
	lines []string
	all   []Mistake
	vars  []string // of the repeats around, as "${i}"
}

func (m *mistakes) at(n *config.Node, key, format string, args ...any) {
	m.add(config.Mistake{Origin: n.Origin, Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (m *mistakes) add(c config.Mistake) {
	one := Mistake{Mistake: c}
	if slices.ContainsFunc(m.all, func(o Mistake) bool { return o.Mistake == c }) {
		return // a repeat says it once
	}
	if i := c.Origin.Line; i > 0 && i <= len(m.lines) && c.Origin.Name == m.name {
		one.Excerpt = strings.TrimRight(m.lines[i-1], " \t\r")
	}
	m.all = append(m.all, one)
}

// errs lists them in the order of the file.
func (m *mistakes) errs() []error {
	slices.SortStableFunc(m.all, func(a, b Mistake) int {
		if d := a.Origin.Line - b.Origin.Line; d != 0 {
			return d
		}
		return a.Origin.Column - b.Origin.Column
	})
	errs := make([]error, len(m.all))
	for i, one := range m.all {
		errs[i] = one
	}
	return errs
}
