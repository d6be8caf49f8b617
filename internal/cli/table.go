package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// wantForm refuses a form of the output that a command does not have.
func wantForm(form string, known ...string) error {
	if slices.Contains(known, form) {
		return nil
	}
	last := len(known) - 1
	return usage("-o %s: write %s or %s", form, strings.Join(known[:last], ", "), known[last])
}

// colours says whether what is written to a terminal may be coloured.
func colours(env *Env, terminal bool) bool {
	return terminal && !slices.ContainsFunc(env.Environ, func(v string) bool {
		value, ok := strings.CutPrefix(v, "NO_COLOR=")
		return ok && value != "" // https://no-color.org
	})
}

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// show prints what a command has found, in the form that was asked for: document as
// JSON, each of items as a line of it, or text for people.
func show[T any](env *Env, form string, document any, items []T, text func(*table)) error {
	switch form {
	case "json":
		return showJSON(env.Stdout, document)
	case "ndjson":
		for _, item := range items {
			if err := printJSON(env.Stdout, item); err != nil {
				return err
			}
		}
		return nil
	}
	t := table{colour: colours(env, env.StdoutTerminal)}
	text(&t)
	return t.write(env.Stdout)
}

// table is rows of cells for people. The columns are as wide as their widest cell;
// the last has no end.
type table struct {
	head   []string // printed above the rows, if there are any
	rows   [][]cell
	colour bool
}

// cell is one text of a table, and whether it is in need of attention.
type cell struct {
	text  string
	alarm bool
}

// alarm marks a text of a row.
func alarm(text string) cell { return cell{text, true} }

// count is a number of things: "1 event", "2 events".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// add appends a row of cells, texts and numbers. An empty text becomes a dash, so
// that columns can be told apart by programs too.
func (t *table) add(row ...any) {
	cells := make([]cell, len(row))
	for i, v := range row {
		c, ok := v.(cell)
		if !ok {
			c.text = printable(fmt.Sprint(v))
		}
		if c.text == "" {
			c.text = "-"
		}
		cells[i] = c
	}
	t.rows = append(t.rows, cells)
}

const (
	boldText  = "\x1b[1m"
	redText   = "\x1b[31m"
	plainText = "\x1b[0m"
)

// write writes the table in one piece.
func (t *table) write(w io.Writer) error {
	var widths []int
	rows := t.rows
	if len(t.head) > 0 && len(t.rows) > 0 {
		head := make([]cell, len(t.head))
		for i, text := range t.head {
			head[i].text = text
		}
		rows = append([][]cell{head}, rows...)
	}
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b bytes.Buffer
	for n, row := range rows {
		for i, c := range row {
			text, colour := c.text, ""
			switch {
			case n == 0 && len(t.head) > 0:
				colour = boldText
			case c.alarm:
				colour = redText
			}
			if t.colour && colour != "" {
				text = colour + text + plainText
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}
