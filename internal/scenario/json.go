package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/internal/config"
)

// toJSON writes a node as JSON, its keys in the order of the file.
func toJSON(n *config.Node) ([]byte, error) { return appendJSON(nil, n) }

func appendJSON(b []byte, n *config.Node) ([]byte, error) {
	var err error
	switch n.Kind {
	case config.ListNode:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, item); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case config.MapNode:
		b = append(b, '{')
		for i, k := range n.Keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, k.Scalar.(string)), ':')
			if b, err = appendJSON(b, n.Items[i]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case config.TextNode:
		return appendText(b, n.Scalar.(string)), nil
	}
	if f, ok := n.Scalar.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, fmt.Errorf("%v has no form in JSON", f)
	}
	p, err := json.Marshal(n.Scalar)
	return append(b, p...), err
}

// appendText writes a text as JSON, without the escapes that only HTML needs.
func appendText(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always has a form
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// parseJSON reads one JSON value, numbers as json.Number.
func parseJSON(p []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("it ends too early")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

// DiffJSON lists where the JSON in got differs from that in want, one line a key:
// nothing when got has at least what want has, and with exact set no key more.
// Numbers compare as numbers, lists item by item.
func DiffJSON(want, got []byte, exact bool) []string {
	w, err := parseJSON(want)
	if err != nil {
		return []string{"what is expected is not JSON: " + err.Error()}
	}
	g, err := parseJSON(got)
	if err != nil {
		return []string{"it is not JSON: " + err.Error()}
	}
	return diffJSON(w, g, exact)
}

// diffJSON lists where got differs from want. With exact set, got may have no
// further keys.
func diffJSON(want, got any, exact bool) []string {
	d := differ{exact: exact}
	d.compare("", want, got)
	return d.lines
}

type differ struct {
	exact bool
	lines []string
}

func (d *differ) bad(at, format string, args ...any) {
	if at == "" {
		at = "the value"
	}
	d.lines = append(d.lines, strings.TrimPrefix(at, ".")+": "+fmt.Sprintf(format, args...))
}

func (d *differ) compare(at string, want, got any) {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			d.bad(at, "expected an object, got %s", short(got))
			return
		}
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if v, there := have[k]; there {
				d.compare(at+"."+k, want[k], v)
			} else {
				d.bad(at+"."+k, "expected %s, but there is no such key", short(want[k]))
			}
		}
		for _, k := range slices.Sorted(maps.Keys(have)) {
			if _, there := want[k]; d.exact && !there {
				d.bad(at+"."+k, "got %s, and expected no such key", short(have[k]))
			}
		}
	case []any:
		have, ok := got.([]any)
		if !ok {
			d.bad(at, "expected a list, got %s", short(got))
			return
		}
		if len(have) != len(want) {
			d.bad(at, "expected %d items, got %d: %s", len(want), len(have), short(got))
			return
		}
		for i := range want {
			d.compare(fmt.Sprintf("%s[%d]", at, i), want[i], have[i])
		}
	case json.Number:
		if have, ok := got.(json.Number); !ok || !sameNumber(want, have) {
			d.bad(at, "expected %s, got %s", want, short(got))
		}
	default:
		if want != got {
			d.bad(at, "expected %s, got %s", short(want), short(got))
		}
	}
}

// sameNumber compares what two numbers stand for: 1, 1.0 and 1e0 are one.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	i, errA := strconv.ParseInt(string(a), 10, 64)
	j, errB := strconv.ParseInt(string(b), 10, 64)
	if errA == nil && errB == nil {
		return i == j
	}
	x, errA := a.Float64()
	y, errB := b.Float64()
	return errA == nil && errB == nil && x == y
}

// short is a value as JSON, cut where it is long.
func short(v any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return cut(strings.TrimSuffix(out.String(), "\n"), 120)
}

// cut shortens a text to n bytes, at the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:n], len(s))
}
