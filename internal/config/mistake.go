package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mistake is one thing wrong with a configuration. Load returns all of them,
// joined.
type Mistake struct {
	Origin  Origin
	Key     string // as in a file, such as "routes[0].path"; empty when no key is concerned
	Problem string // what is wrong, and what to write instead
}

// Error names the mistake as the user wrote it: by file, line, column and key,
// by variable, or by flag.
func (m Mistake) Error() string {
	parts := make([]string, 0, 3)
	if o := m.Origin.String(); o != "" {
		parts = append(parts, o)
	}
	if m.Key != "" && (m.Origin.Name == "" || m.Origin.Line > 0) {
		parts = append(parts, m.Key)
	}
	return strings.Join(append(parts, m.Problem), ": ")
}

// Excerpt is the line of the file where the mistake is, and a mark below its
// column:
//
//	3 |   listne: [":8080"]
//	  |   ^
//
// It is empty when no line is to blame. Values that nobody may see are not in it.
func (m Mistake) Excerpt() string {
	if m.Origin.Line == 0 || m.Origin.source == nil {
		return ""
	}
	line, column, ok := m.Origin.source.line(m.Origin.Line, m.Origin.Column)
	if !ok {
		return ""
	}
	number := strconv.Itoa(m.Origin.Line)
	return fmt.Sprintf("%s | %s\n%*s | %s^", number, line, len(number), "", strings.Repeat(" ", column-1))
}

// maxExcerpt bounds what is shown of a line, in characters.
const maxExcerpt = 100

// sourceText is the text of a file, for excerpts.
type sourceText struct {
	text   string
	hidden []string // values that nobody may see
}

// line is a line of the text as a terminal takes it, and the column in it; false
// when the text has no such place.
func (s *sourceText) line(number, column int) (string, int, bool) {
	text := s.text
	for ; number > 1; number-- {
		_, after, ok := strings.Cut(text, "\n")
		if !ok {
			return "", 0, false
		}
		text = after
	}
	text, _, _ = strings.Cut(text, "\n")
	for _, value := range s.hidden {
		text = strings.ReplaceAll(text, value, strings.Repeat("*", utf8.RuneCountInString(value)))
	}
	line := []rune(strings.TrimRight(text, "\r"))
	if column < 1 || column > len(line)+1 {
		return "", 0, false
	}
	for i, r := range line {
		if !unicode.IsPrint(r) {
			line[i] = ' '
		}
	}
	const context = 20 // characters before the place
	if column > maxExcerpt {
		line, column = line[column-1-context:], context+1
	}
	return strings.TrimRight(string(line[:min(len(line), maxExcerpt)]), " "), column, true
}

// Origin is where a value was written. The zero value stands for defaults.
type Origin struct {
	Name string // a file's path as the user gave it, a variable, or a flag
	Line int    // from 1; 0 when Name is no file, or the place is not known
	// Column counts characters from 1; 0 as for Line.
	Column int
	rank   int         // order of the sources, weakest first
	source *sourceText // nil when Name is no file
}

// String is "file:line:column", or the variable or flag.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.Name
	}
	return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
}

// origins remembers where each key was written last.
type origins map[string]Origin

// find is the origin of key, or of the nearest key around it: a list or a
// mapping may be all that the user wrote.
func (o origins) find(key string) Origin {
	for key != "" {
		if at, ok := o[key]; ok {
			return at
		}
		key = parent(key)
	}
	return Origin{}
}

// sortMistakes puts them in the order in which a reader meets them.
func sortMistakes(m []Mistake) {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(
			cmp.Compare(a.Origin.rank, b.Origin.rank),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column),
			strings.Compare(a.Key, b.Key),
		)
	})
}

// flatten undoes errors.Join at every depth.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// hint is `; did you mean "x"?` for the known word nearest to the wrong one, or
// nothing when none is near.
func hint(wrong string, known []string) string {
	if word, ok := Nearest(wrong, known); ok {
		return fmt.Sprintf("; did you mean %q?", word)
	}
	return ""
}

// Nearest returns the known word that differs least from the wrong one; false
// when that is more than a third of its letters.
func Nearest(wrong string, known []string) (string, bool) {
	best, bestDistance := "", len(wrong)/3+1
	for _, word := range known {
		if d := distance(strings.ToLower(wrong), strings.ToLower(word)); d < bestDistance {
			best, bestDistance = word, d
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, delete, replace or swap with a
// neighbour (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := 1
			if a[i-1] == b[j-1] {
				replace = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
