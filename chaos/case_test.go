package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const hostileFolder = "testdata/hostile"

// hostile is one module with what it tries and what must come of it. See the package's documentation.
type hostile struct {
	name string
	file string // source, a .wat or .bytes
	wasm []byte

	about   string
	rows    []string
	flags   []string
	grant   []string
	memory  string
	deny    bool
	alone   bool
	provoke string
	warm    int
	times   int
	clients int
	breaker bool

	outcome outcome
	reasons []*regexp.Regexp // load-refused: each of them
	stop    *regexp.Regexp   // stopped: the reason
	reply   string           // served; "" = any or none
	codes   []int            // closed, http

	log, neverLog, logReason *regexp.Regexp // nil = none
	mostLines                int            // 0 = any
}

type outcome string

const (
	loadRefused outcome = "load-refused"
	harmless    outcome = "harmless"
	served      outcome = "served"
	stopped     outcome = "stopped"
	closed      outcome = "closed"
	answered    outcome = "http"
)

func (h *hostile) title() string { return strings.Join(h.rows, " ") + " " + h.name }

// compiled is where a .wat's binary lies.
func (h *hostile) compiled() string { return strings.TrimSuffix(h.file, ".wat") + ".wasm" }

// atLoad reports whether the case is decided when the module is loaded.
func (h *hostile) atLoad() bool { return h.outcome == loadRefused || h.outcome == harmless }

// cases reads all modules, in the order of their names.
func cases(t *testing.T) []*hostile {
	t.Helper()
	var all []*hostile
	for _, pattern := range []string{"*.wat", "*.bytes"} {
		files, err := filepath.Glob(filepath.Join(hostileFolder, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no modules %s: %v", pattern, err)
		}
		for _, file := range files {
			h, err := readCase(file)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *hostile) int { return strings.Compare(a.name, b.name) })
	return all
}

func readCase(file string) (*hostile, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	kind := filepath.Ext(file)
	h := &hostile{name: strings.TrimSuffix(filepath.Base(file), kind), file: file, provoke: "text", times: 3, clients: 1}
	if err := h.readHead(string(text)); err != nil {
		return nil, err
	}
	if kind == ".bytes" {
		h.wasm, err = assemble(string(text))
	} else if h.wasm, err = os.ReadFile(h.compiled()); *update && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return h, err
}

var headLine = regexp.MustCompile(`^([a-z-]+[a-z0-9]*): (.+)$`)

// readHead reads the leading comment.
func (h *hostile) readHead(text string) error {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		line, ok := strings.CutPrefix(line, ";; ")
		if !ok {
			break
		}
		m := headLine.FindStringSubmatch(line)
		if m == nil {
			h.about = strings.TrimSpace(h.about + " " + line)
			continue
		}
		if seen[m[1]] {
			return fmt.Errorf("%s: is there twice", m[1])
		}
		seen[m[1]] = true
		if err := h.setKey(m[1], m[2]); err != nil {
			return fmt.Errorf("%s: %w", m[1], err)
		}
	}
	switch {
	case h.about == "":
		return errors.New("the first line does not say what it tries")
	case h.outcome == "":
		return errors.New("expect: is missing")
	case len(h.rows) == 0:
		return errors.New("rows: is missing")
	}
	return nil
}

func (h *hostile) setKey(key, value string) (err error) {
	switch key {
	case "rows":
		h.rows = strings.Fields(value)
	case "wat2wasm":
		h.flags = strings.Fields(value)
	case "grant":
		h.grant = strings.Fields(value)
	case "memory":
		h.memory = value
	case "ungranted":
		h.deny = value == "deny"
	case "alone":
		h.alone = value == "yes"
	case "provoke":
		if h.provoke = value; !slices.Contains([]string{"upgrade", "open", "text", "close"}, value) {
			err = fmt.Errorf("there is no %q", value)
		}
	case "warm":
		h.warm, err = strconv.Atoi(value)
	case "times":
		h.times, err = strconv.Atoi(value)
	case "clients":
		h.clients, err = strconv.Atoi(value)
	case "breaker":
		h.breaker = value == "opens"
	case "log":
		h.log, err = regexp.Compile(value)
	case "never-log":
		h.neverLog, err = regexp.Compile(value)
	case "log-reason":
		h.logReason, err = regexp.Compile(value)
	case "most-lines":
		h.mostLines, err = strconv.Atoi(value)
	case "expect":
		err = h.setExpect(value)
	default:
		err = errors.New("there is no such key")
	}
	return err
}

func (h *hostile) setExpect(value string) (err error) {
	word, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimSpace(rest)
	switch h.outcome = outcome(word); h.outcome {
	case loadRefused:
		for _, quoted := range regexp.MustCompile(`"[^"]*"`).FindAllString(rest, -1) {
			re, err := regexp.Compile(quoted[1 : len(quoted)-1])
			if err != nil {
				return err
			}
			h.reasons = append(h.reasons, re)
		}
		if len(h.reasons) == 0 {
			return errors.New("no reason in quotes")
		}
	case harmless:
	case served:
		if rest != "" {
			h.reply, err = strconv.Unquote(rest)
		}
	case stopped:
		h.stop, err = regexp.Compile("^(" + rest + ")$")
	case closed, answered:
		for code := range strings.SplitSeq(rest, "|") {
			n, err := strconv.Atoi(code)
			if err != nil {
				return err
			}
			h.codes = append(h.codes, n)
		}
	default:
		return fmt.Errorf("there is no outcome %q", word)
	}
	return err
}

func TestHostileTextsAreCompiled(t *testing.T) {
	wat2wasm := needTool(t, "wat2wasm")
	out := filepath.Join(t.TempDir(), "out.wasm")
	for _, h := range cases(t) {
		if filepath.Ext(h.file) != ".wat" {
			continue
		}
		if said, err := exec.Command(wat2wasm, append(slices.Clone(h.flags), h.file, "-o", out)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", h.file, err, said)
			continue
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(h.compiled(), want, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(h.wasm, want) {
			t.Errorf("%s is not what its text compiles to; run the test with -update", h.file)
		}
	}
}

func TestEveryCompiledModuleHasItsText(t *testing.T) {
	compiled, err := filepath.Glob(filepath.Join(hostileFolder, "*.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range compiled {
		if _, err := os.Stat(strings.TrimSuffix(file, ".wasm") + ".wat"); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The rows of the fault list that are about modules, and can be seen from outside at this point.
func TestEveryRowHasACase(t *testing.T) {
	missing := map[string]bool{}
	for _, row := range []string{"T-069", "T-070", "T-071", "T-072", "T-073", "T-074", "T-075", "T-076", "T-078", "T-079", "T-081", "T-082", "T-083", "T-085", "T-086", "T-088", "T-089", "T-090"} {
		missing[row] = true
	}
	for _, h := range cases(t) {
		for _, row := range h.rows {
			delete(missing, row)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no case for %v", slices.Sorted(maps.Keys(missing)))
	}
}
