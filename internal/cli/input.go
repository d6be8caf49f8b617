package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// action is what one line of `weir connect` asks for.
type action struct {
	kind   actionKind
	data   []byte // of sendText and sendBinary
	code   int    // of sendClose
	reason string
}

type actionKind int

const (
	nothing actionKind = iota
	sendText
	sendBinary
	sendPing
	sendClose
	showHelp
)

// inputHelp is what /help says.
const inputHelp = `  hello             send a text message; an empty line sends nothing
  /text /hello      the same, for one that begins with / or is empty
  /json {"a": 1}    send JSON as text, once it is checked
  /binary 00ff      send a binary message, in hex
  /ping             ping the server and print how long it takes
  /close 4000 bye   close, with a code and a reason if you like
`

// parseInput reads one line.
func parseInput(line string) (action, error) {
	if line == "" {
		return action{}, nil
	}
	if line[0] != '/' {
		return textAction(line)
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "/text":
		return textAction(rest)
	case "/json":
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(rest)); err != nil {
			return action{}, fmt.Errorf("/json: %w", err)
		}
		return textAction(b.String())
	case "/binary":
		data, err := hex.DecodeString(strings.Join(strings.Fields(rest), ""))
		if err != nil {
			return action{}, fmt.Errorf("/binary: %w; write it as 00 ff or 00ff", err)
		}
		return action{kind: sendBinary, data: data}, nil
	case "/ping":
		return action{kind: sendPing}, nil
	case "/close":
		return closeAction(rest)
	case "/help":
		return action{kind: showHelp}, nil
	}
	return action{}, unknown("command", word, slices.Clone(inputCommands), "/help lists them, /text sends what begins with /")
}

var inputCommands = []string{"/text", "/json", "/binary", "/ping", "/close", "/help"}

func textAction(text string) (action, error) {
	if !utf8.ValidString(text) {
		return action{}, fmt.Errorf("the line is not UTF-8, as text must be; /binary takes bytes")
	}
	return action{kind: sendText, data: []byte(text)}, nil
}

// maxReasonBytes is what a Close frame has room for (RFC 6455 §5.5).
const maxReasonBytes = 123

func closeAction(rest string) (action, error) {
	a := action{kind: sendClose, code: 1000}
	word, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if word != "" {
		code, err := strconv.Atoi(word)
		if err != nil || !mayClose(code) {
			return action{}, fmt.Errorf("/close: %q is not a code to close with: 1000 to 1003, 1007 to 1014, 3000 to 4999", word)
		}
		a.code = code
	}
	a.reason = strings.TrimSpace(reason)
	if len(a.reason) > maxReasonBytes || !utf8.ValidString(a.reason) {
		return action{}, fmt.Errorf("/close: a reason is UTF-8 and has at most %d bytes; this has %d", maxReasonBytes, len(a.reason))
	}
	return a, nil
}

// mayClose says whether a Close frame may carry the code (RFC 6455 §7.4).
func mayClose(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
