package scenario

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"weir/internal/sim"
)

// grace is how long an expect waits in virtual time unless it says otherwise. The
// network takes no time of its own; this is more than what the fault delay adds
// to a question and its answer.
const grace = 100 * time.Millisecond

// value is what a message or a state is to be.
type value struct {
	kind  string // text, json, json_exact or bytes
	text  string
	re    *regexp.Regexp // instead of text
	bytes []byte         // for bytes; for json the source
	json  any
}

// String says what is expected.
func (v value) String() string {
	switch v.kind {
	case "text":
		if v.re != nil {
			return "text that matches " + v.text
		}
		return cut("text "+strconv.Quote(v.text), 2000)
	case "json":
		return "json with " + string(v.bytes)
	case "json_exact":
		return "json " + string(v.bytes)
	default:
		return cut("bytes "+hex.EncodeToString(v.bytes), 2000)
	}
}

// fits compares p. For JSON, diff lists what differs.
func (v value) fits(p []byte) (ok bool, diff []string) {
	switch v.kind {
	case "text":
		if v.re != nil {
			return v.re.Match(p), nil
		}
		return string(p) == v.text, nil
	case "bytes":
		return bytes.Equal(p, v.bytes), nil
	}
	got, err := parseJSON(p)
	if err != nil {
		return false, []string{"it is not JSON: " + err.Error()}
	}
	diff = diffJSON(v.json, got, v.kind == "json_exact")
	return len(diff) == 0, diff
}

// match is what a client is to hear.
type match struct {
	value                // of a message; of a protocol; of a close reason
	kind   string        // the key
	count  int           // so many messages
	within time.Duration // virtual
	parts  []match       // of any_order, one for each message
	code   int           // of a close; -1 any
	reason bool          // value is that of the close
	status int
}

// isMessage reports that it takes messages, and not something else.
func (m match) isMessage() bool {
	return m.kind != "close" && m.kind != "status" && m.kind != "protocol"
}

// String says what is expected.
func (m match) String() string {
	switch m.kind {
	case "status":
		return fmt.Sprintf("status %d", m.status)
	case "protocol":
		return fmt.Sprintf("protocol %q", m.text)
	case "close":
		s := "close"
		if m.code >= 0 {
			s = fmt.Sprintf("close %d", m.code)
		}
		if m.reason {
			s += " with " + m.value.String()
		}
		return s
	case "any_order":
		s := fmt.Sprintf("in any order, %d messages:", len(m.parts))
		for _, p := range m.parts {
			s += "\n  " + p.String()
		}
		return s
	default:
		return m.value.String()
	}
}

// takes compares a message.
func (m match) takes(got sim.Message) (ok bool, diff []string) {
	if (got.Opcode == sim.Binary) != (m.kind == "bytes") {
		return false, nil
	}
	return m.fits(got.Payload)
}

// assign finds a part for each message, no part for two, and reports whether
// that can be done (augmenting paths, Kuhn's algorithm).
func (m match) assign(got []sim.Message) bool {
	owner := make([]int, len(m.parts)) // of each part, the message; -1 none
	for i := range owner {
		owner[i] = -1
	}
	fits := make([][]bool, len(got))
	for i, g := range got {
		fits[i] = make([]bool, len(m.parts))
		for j, p := range m.parts {
			fits[i][j], _ = p.takes(g)
		}
	}
	var seen []bool
	var place func(i int) bool
	place = func(i int) bool {
		for j := range m.parts {
			if !fits[i][j] || seen[j] {
				continue
			}
			seen[j] = true
			if owner[j] < 0 || place(owner[j]) {
				owner[j] = i
				return true
			}
		}
		return false
	}
	for i := range got {
		seen = make([]bool, len(m.parts))
		if !place(i) {
			return false
		}
	}
	return true
}

// closes compares how a connection ended.
func (m match) closes(c *sim.Client) bool {
	got, reason := 1006, ""
	if f := c.Closed(); f != nil {
		got, reason = int(f.Code), f.Reason
		if got == 0 {
			got = 1005
		}
	}
	if m.code >= 0 && got != m.code {
		return false
	}
	if m.reason {
		ok, _ := m.fits([]byte(reason))
		return ok
	}
	return true
}

// show writes a message as people read it.
func show(m sim.Message) string {
	if m.Opcode == sim.Text && utf8.Valid(m.Payload) {
		return cut("text "+strconv.Quote(string(m.Payload)), 2000)
	}
	return cut("bytes "+hex.EncodeToString(m.Payload), 2000)
}

// showEnd writes how a connection ended.
func showEnd(c *sim.Client) string {
	switch {
	case c.Closed() != nil:
		return c.Closed().String()
	case c.Broken():
		return "the connection was reset"
	default:
		return "the connection ended without a Close frame"
	}
}
