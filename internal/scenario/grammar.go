package scenario

import (
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/sim"
	"weir/runtime"
)

// shape is what may stand at one place of a file. Exactly one of leaf, item,
// value, fields and either is set.
type shape struct {
	// name makes the shape a definition of its own in the schema.
	name string
	// is says what the shape is, for messages: "a duration".
	is string

	leaf   *leaf
	item   *shape   // a list
	value  *shape   // a mapping from names of the user's to this
	fields []field  // a mapping with known keys
	either []*shape // one of these, told apart by the kind of node

	exactly   []string   // of these fields, exactly one must be there
	forbidden [][]string // fields that exclude one another
	least     int        // items of a list or a mapping
}

// leaf is a value without parts.
type leaf struct {
	kinds []config.NodeKind
	// check says what is wrong with a value of the right kind; nil: nothing.
	check  func(*config.Node) error
	hint   func(*config.Node) string // for a value of the wrong kind; may be nil
	schema map[string]any
}

// field is one key of a mapping.
type field struct {
	name     string
	doc      string // one sentence, for the schema and the page
	shape    *shape
	required bool
}

func (s *shape) field(name string) *field {
	for i := range s.fields {
		if s.fields[i].name == name {
			return &s.fields[i]
		}
	}
	return nil
}

func (s *shape) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// Leaves.
var (
	textShape = &shape{is: "a text", leaf: &leaf{
		kinds:  []config.NodeKind{config.TextNode},
		hint:   quoteIt,
		schema: map[string]any{"type": "string"},
	}}
	anyShape = &shape{is: "a value", leaf: &leaf{
		kinds:  []config.NodeKind{config.NullNode, config.BoolNode, config.NumberNode, config.TextNode, config.ListNode, config.MapNode},
		schema: map[string]any{},
	}}
	boolShape = &shape{is: "true or false", leaf: &leaf{
		kinds:  []config.NodeKind{config.BoolNode},
		schema: map[string]any{"type": "boolean"},
	}}
	yesShape = &shape{is: "true", leaf: &leaf{
		kinds: []config.NodeKind{config.BoolNode},
		check: func(n *config.Node) error {
			if n.Scalar == false {
				return fmt.Errorf("only true says something here; leave the step out instead")
			}
			return nil
		},
		schema: map[string]any{"const": true},
	}}
	durationShape = &shape{name: "duration", is: "a duration such as 250ms, 2s or 1h30m", leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			d, err := time.ParseDuration(n.Scalar.(string))
			if err != nil || d < 0 || d > maxDuration {
				return fmt.Errorf("%q is not a duration from 0s to %v; write one such as 250ms, 2s or 1h30m", n.Scalar, maxDuration)
			}
			return nil
		},
		hint: func(n *config.Node) string {
			if n.Kind == config.NumberNode {
				return fmt.Sprintf("; write it with its unit, such as %vs or %vms", n.Scalar, n.Scalar)
			}
			return ""
		},
		schema: map[string]any{"type": "string", "pattern": `^(([0-9]+|\$\{[a-z0-9]+\})(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`},
	}}
	pathShape = &shape{name: "path", is: "a path with an optional query, such as /chat/lobby?name=ann", leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			if p := n.Scalar.(string); !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
				return fmt.Errorf("%q is not a path: it begins with / and has no spaces (%%20 stands for one)", p)
			}
			return nil
		},
		schema: map[string]any{"type": "string", "pattern": `^/[^\s]*$`},
	}}
	headerShape = &shape{is: "a header's value", leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			if strings.ContainsAny(n.Scalar.(string), "\r\n\x00") {
				return fmt.Errorf("a header has no line breaks; send: {NAME: {raw: …}} sends any bytes")
			}
			return nil
		},
		hint:   quoteIt,
		schema: map[string]any{"type": "string"},
	}}
	hexShape = &shape{name: "bytes", is: "bytes in hexadecimal, such as \"00 ff\"", leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			_, err := parseHex(n.Scalar.(string))
			return err
		},
		hint:   quoteIt,
		schema: map[string]any{"type": "string", "pattern": `^([0-9a-fA-F]{2}\s*)*$`},
	}}
	patternShape = &shape{name: "pattern", is: "a text, or a /regular expression/", leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			_, err := parsePattern(n.Scalar.(string))
			return err
		},
		hint:   quoteIt,
		schema: map[string]any{"type": "string"},
	}}
	codeShape = &shape{is: "a close code from 1000 to 4999", leaf: whole(1000, 4999)}
)

// maxDuration bounds a duration: ten years, as that of a timer.
const maxDuration = 10 * 365 * 24 * time.Hour

// quoteIt is the hint of what must be text.
func quoteIt(n *config.Node) string {
	if n.Kind == config.NumberNode || n.Kind == config.BoolNode || n.Kind == config.NullNode {
		return "; put it in quotes if it is meant so"
	}
	return ""
}

func whole(least, most int64) *leaf {
	return &leaf{
		kinds: []config.NodeKind{config.NumberNode},
		check: func(n *config.Node) error {
			i, ok := wholeNumber(n.Scalar)
			if !ok || i < least || i > most {
				return fmt.Errorf("%v is not a whole number from %d to %d", n.Scalar, least, most)
			}
			return nil
		},
		schema: map[string]any{"anyOf": []any{
			map[string]any{"type": "integer", "minimum": least, "maximum": most},
			map[string]any{"type": "string", "pattern": `^\$\{[a-z][a-z0-9]*\}$`}, // of a repeat
		}},
	}
}

func wholeNumber(scalar any) (int64, bool) {
	switch n := scalar.(type) {
	case int64:
		return n, true
	case uint64: // the library gives every number without a sign so
		return int64(n), n <= 1<<63-1
	case float64:
		return int64(n), n == float64(int64(n)) && n > -1<<53 && n < 1<<53
	}
	return 0, false
}

func parseHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal: two digits a byte, such as \"00 ff\"", s)
	}
	return b, nil
}

// parsePattern reads a text, which is matched whole, or /a regular expression/.
func parsePattern(s string) (*regexp.Regexp, error) {
	if len(s) < 2 || s[0] != '/' || s[len(s)-1] != '/' {
		return nil, nil
	}
	re, err := regexp.Compile(s[1 : len(s)-1])
	if err != nil {
		return nil, fmt.Errorf("%s is not a regular expression: %w (a text between slashes is one)", s, err)
	}
	return re, nil
}

func listOf(is string, item *shape) *shape { return &shape{is: is, item: item, least: 1} }

func mapOf(is string, value *shape) *shape { return &shape{is: is, value: value, least: 1} }

func word(is string, words ...string) *shape {
	return &shape{is: is, leaf: &leaf{
		kinds: []config.NodeKind{config.TextNode},
		check: func(n *config.Node) error {
			if w := n.Scalar.(string); !slices.Contains(words, w) {
				return fmt.Errorf("%q is not one of %s%s", w, strings.Join(words, ", "), hint(w, words))
			}
			return nil
		},
		schema: map[string]any{"enum": words},
	}}
}

func hint(wrong string, known []string) string {
	if near, ok := config.Nearest(wrong, known); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

var clientsShape = listOf("a list of clients' names", textShape)

// faultNames are those of the simulator that concern network, poller and
// executor: the others are what the clients of random runs do, and steps here.
var faultNames = func() []string {
	const ours = sim.Split | sim.Delay | sim.Choke | sim.Spurious | sim.Stale | sim.Preempt | sim.Overload | sim.AcceptErrors | sim.StartErrors
	return strings.Split(ours.String(), "+")
}()

// The grammar, from the inside out.
var (
	closeShape = &shape{name: "close", is: "a close code and a reason",
		fields: []field{
			{name: "code", doc: "Close code (RFC 6455 §7.4). Sent: none makes the frame empty. Expected: none means any; 1005 is an empty frame, 1006 an end without one.", shape: codeShape},
			{name: "reason", doc: "Text behind the code; expected, a /regular expression/ too.", shape: patternShape},
		}}

	timesDoc   = "The text, or the bytes, so many times over, as one message."
	timesShape = &shape{is: "a number", leaf: whole(1, maxTimesBytes)}

	messageShape = &shape{name: "message", is: "a message to send", exactly: []string{"text", "json", "bytes", "file", "close", "ping", "raw"},
		fields: []field{
			{name: "text", doc: "A text message.", shape: textShape},
			{name: "json", doc: "A text message: this value as JSON.", shape: anyShape},
			{name: "bytes", doc: "A binary message, in hexadecimal.", shape: hexShape},
			{name: "file", doc: "A binary message: the bytes of a file, relative to this one.", shape: textShape},
			{name: "close", doc: "A Close frame, and nothing is read of what that means.", shape: closeShape},
			{name: "ping", doc: "A ping with this payload.", shape: textShape},
			{name: "raw", doc: "Bytes as they are, in hexadecimal: no frame is made.", shape: hexShape},
			{name: "times", doc: timesDoc, shape: timesShape},
			{name: "split", doc: "Sends that many bytes at a time.", shape: &shape{is: "a number of bytes", leaf: whole(1, 1<<20)}},
			{name: "delay", doc: "Virtual time that goes by before each piece.", shape: durationShape},
		}}

	matchShape = &shape{name: "match", is: "what a client is to hear",
		exactly: []string{"text", "json", "json_exact", "bytes", "any_order", "close", "status", "protocol"},
		fields: []field{
			{name: "text", doc: "A text message: exactly this, or what fits a /regular expression/.", shape: patternShape},
			{name: "json", doc: "A text message of JSON that has at least these keys; numbers compare as numbers, lists item by item.", shape: anyShape},
			{name: "json_exact", doc: "A text message of JSON that has these keys and no others.", shape: anyShape},
			{name: "bytes", doc: "A binary message: exactly these bytes, in hexadecimal.", shape: hexShape},
			{name: "any_order", doc: "The next messages, one for each of these, in any order."},
			{name: "close", doc: "The server's Close frame, after which nothing may come.", shape: closeShape},
			{name: "status", doc: "The HTTP status of the answer to open.", shape: &shape{is: "an HTTP status", leaf: whole(100, 599)}},
			{name: "protocol", doc: "The subprotocol that was agreed on.", shape: textShape},
			{name: "times", doc: timesDoc, shape: timesShape},
			{name: "count", doc: "That many messages in a row, each of which fits.", shape: &shape{is: "a number of messages", leaf: whole(1, 100_000)}},
			{name: "within", doc: "How long it may take in virtual time, each of several messages anew; by default 100ms.", shape: durationShape},
		}}

	matchesShape = &shape{is: "what a client is to hear, or a list of it, in order", either: []*shape{matchShape, listOf("a list of what a client is to hear", matchShape)}}

	openShape = &shape{name: "opening", is: "how a client connects", either: []*shape{pathShape, {is: "how a client connects",
		fields: []field{
			{name: "path", doc: "Path and query of the request.", shape: pathShape},
			{name: "headers", doc: "Further fields of the request.", shape: mapOf("a mapping of headers", headerShape)},
			{name: "protocols", doc: "Subprotocols that the client offers, the best first.", shape: listOf("a list of subprotocols", headerShape)},
			{name: "origin", doc: "The page that connects (scheme://host); without one it is a program.", shape: headerShape},
			{name: "status", doc: "The HTTP status of the answer; by default 101.", shape: &shape{is: "an HTTP status", leaf: whole(100, 599)}},
		}}}}

	stateShape = &shape{name: "state", is: "what a connection's state is to be", exactly: []string{"text", "json", "json_exact", "bytes"},
		fields: []field{
			{name: "text", doc: "Exactly this text, or what fits a /regular expression/; \"\" for none.", shape: patternShape},
			{name: "json", doc: "JSON that has at least these keys.", shape: anyShape},
			{name: "json_exact", doc: "JSON that has these keys and no others.", shape: anyShape},
			{name: "bytes", doc: "Exactly these bytes, in hexadecimal.", shape: hexShape},
		}}

	assertShape = &shape{is: "what is to hold now",
		fields: []field{
			{name: "module", doc: "Whose topics are meant, where the configuration has several modules.", shape: textShape},
			{name: "topics", doc: "How many members each topic has.", shape: mapOf("a mapping from topics to numbers", &shape{is: "a number", leaf: whole(0, 1<<32)})},
			{name: "connections", doc: "How many connections are open.", shape: &shape{is: "a number", leaf: whole(0, 1<<32)}},
			{name: "state", doc: "The state that the handler has given each connection.", shape: mapOf("a mapping from clients to states", stateShape)},
			{name: "metrics", doc: "Counters of the server: " + strings.Join(metricNames(), ", ") + ", closes.CAUSE, and app.NAME, which a module declares (modules.NAME.metrics).",
				shape: mapOf("a mapping from metrics to numbers", &shape{is: "a number", leaf: whole(0, 1<<62)})},
		}}

	faultsShape = &shape{is: "a list of faults, all, or none", either: []*shape{
		word("all or none", "all", "none"),
		listOf("a list of faults", &shape{either: []*shape{word("a fault", faultNames...), {is: "a fault of a host function", fields: []field{
			{name: "call", doc: "Name of the host function.", shape: word("a host function", runtime.Faultable()...), required: true},
			{name: "nth", doc: "Which call of it fails, counted from this step; every call if it is left out.", shape: &shape{is: "a number", leaf: whole(1, 1<<32)}},
			{name: "error", doc: "What it answers.", shape: word("an error of the ABI", slices.Sorted(maps.Keys(runtime.Errors()))...), required: true},
		}}}, is: "a fault"}),
	}}

	stepShape = &shape{name: "step", is: "a step", exactly: []string{"open", "send", "close", "abort", "half_close", "slow", "expect", "silence", "advance",
		"together", "repeat", "assert", "reload", "drain", "faults"},
		fields: []field{
			{name: "open", doc: "Clients connect, one after the other, and are let in (101) unless a status is expected.",
				shape: &shape{is: "a list of clients, or a mapping from clients to paths", either: []*shape{clientsShape, mapOf("a mapping from clients to paths", openShape)}}},
			{name: "send", doc: "Clients send messages, one after the other.",
				shape: mapOf("a mapping from clients to messages", &shape{is: "a message, or a list of messages", either: []*shape{messageShape, listOf("a list of messages", messageShape)}})},
			{name: "close", doc: "Clients send a Close frame and end the connection when the server has answered.",
				shape: &shape{is: "a list of clients, or a mapping from clients to codes", either: []*shape{clientsShape, mapOf("a mapping from clients to codes", closeShape)}}},
			{name: "abort", doc: "Clients break off without a word: a TCP reset.", shape: clientsShape},
			{name: "half_close", doc: "Clients send a TCP FIN and read on.", shape: clientsShape},
			{name: "slow", doc: "Clients stop reading (true) or go on (false).", shape: mapOf("a mapping from clients to true or false", boolShape)},
			{name: "expect", doc: "What clients hear next, each in order.", shape: mapOf("a mapping from clients to what they are to hear", matchesShape)},
			{name: "within", doc: "How long an expect may take in virtual time; by default 100ms.", shape: durationShape},
			{name: "silence", doc: "Clients hear nothing for so long, and have heard nothing that was not expected.",
				shape: &shape{is: "a duration, a list of clients, or a mapping from clients to durations", either: []*shape{durationShape, clientsShape, mapOf("a mapping from clients to durations", durationShape)}}},
			{name: "advance", doc: "Virtual time goes by.", shape: durationShape},
			{name: "together", doc: "Clients do these steps at once, in an order drawn from the seed; each client keeps to its own."},
			{name: "repeat", doc: "Steps that are done several times; ${i} in their texts counts from 0."},
			{name: "assert", doc: "What holds now on the server.", shape: assertShape},
			{name: "reload", doc: "A file becomes the module's next generation, with every socket open.",
				shape: &shape{is: "a file, or a mapping from a module to a file", either: []*shape{textShape, mapOf("a mapping from a module to a file", textShape)}}},
			{name: "drain", doc: "The server begins an orderly stop: it accepts nobody, and says goodbye (1001) to everybody.", shape: yesShape},
			{name: "faults", doc: "What goes wrong from now on: " + strings.Join(faultNames, ", ") + "; or all, or none.", shape: faultsShape},
		}}

	repeatShape = &shape{name: "repeat", is: "how often, and which steps"}

	stepsShape = listOf("a list of steps", stepShape)

	scenarioShape = &shape{name: "scenario", is: "a scenario",
		fields: []field{
			{name: "name", doc: "A sentence about behaviour; no two of a file are the same.", shape: textShape, required: true},
			{name: "steps", doc: "What happens.", shape: stepsShape, required: true},
			{name: "skip", doc: "Leaves the scenario out; a text says why.", shape: &shape{is: "true, or a text that says why", either: []*shape{boolShape, textShape}}},
			{name: "only", doc: "Leaves out the other scenarios of the file.", shape: boolShape},
		}}

	documentShape = &shape{is: "a scenario file", exactly: []string{"module", "config"},
		fields: []field{
			{name: "module", doc: "A .wasm file, relative to this one; every path leads to it, as with weir serve MODULE.wasm.", shape: textShape},
			{name: "config", doc: "A configuration file, relative to this one: its modules, routes and limits.", shape: textShape},
			{name: "capabilities", doc: "With module: what it may use; by default " + defaultCapabilities + ".",
				shape: &shape{is: "a list of capabilities", item: word("a capability", config.Capabilities()...)}},
			{name: "module_config", doc: "With module: what its init event is given, as JSON.", shape: &shape{is: "a mapping", value: anyShape}},
			{name: "seed", doc: "Decides what is left to chance; by default 1.", shape: &shape{is: "a seed", leaf: whole(0, 1<<62)}},
			{name: "scenarios", doc: "What is played, each in a world of its own.", shape: listOf("a list of scenarios", scenarioShape), required: true},
		},
		forbidden: [][]string{{"config", "capabilities"}, {"config", "module_config"}},
	}
)

const defaultCapabilities = "topics and timers"

func init() {
	// What holds itself.
	stepShape.field("together").shape = stepsShape
	stepShape.field("repeat").shape = repeatShape
	matchShape.field("any_order").shape = listOf("a list of what a client is to hear", matchShape)
	repeatShape.fields = []field{
		{name: "times", doc: "How often.", shape: &shape{is: "a number", leaf: whole(1, maxSteps)}, required: true},
		{name: "as", doc: "Another name for i, where repeats stand in one another.", shape: &shape{is: "a name", leaf: &leaf{
			kinds: []config.NodeKind{config.TextNode},
			check: func(n *config.Node) error {
				if !variable.MatchString(n.Scalar.(string)) {
					return fmt.Errorf("%q is not a name: a letter, then letters and digits", n.Scalar)
				}
				return nil
			},
			schema: map[string]any{"type": "string", "pattern": variable.String()},
		}}},
		{name: "steps", doc: "What is repeated.", shape: stepsShape, required: true},
	}
}

var variable = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// maxSteps bounds the steps of one file, those of repeats counted each time.
const maxSteps = 100_000
