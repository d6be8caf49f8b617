package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/runtime"
)

// trapped makes an instance of a guest trap, and returns the folder with the tape, and the tape's file.
func trapped(t *testing.T, module string, scripts ...string) (dir, tape string) {
	t.Helper()
	dir = t.TempDir()
	wasm, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	e, err := runtime.NewEngine(runtime.Options{TapeDir: dir, Jail: "off"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := e.Load(t.Context(), wasm, runtime.ModuleOptions{Name: "puppet", Generation: 2, Instances: 1,
		Capabilities: runtime.CapabilityDefault, Record: runtime.RecordOnTrap})
	if err != nil {
		t.Fatal(err)
	}
	i := m.TryTake()
	defer m.Discard(i)
	h := &tapedHost{}
	events := []struct {
		ev      runtime.Event
		conn    uint64
		arg     int64
		payload string
	}{
		{runtime.EventInit, 0, 2, "{}"},
		{runtime.EventUpgrade, 7, 0, ""}, {runtime.EventOpen, 7, 0, ""},
		{runtime.EventUpgrade, 8, 0, ""}, {runtime.EventOpen, 8, 0, ""},
	}
	for _, s := range scripts {
		events = append(events, struct {
			ev      runtime.Event
			conn    uint64
			arg     int64
			payload string
		}{runtime.EventText, 7, 0, s})
	}
	for _, e := range events {
		p, err := i.Inbound(len(e.payload))
		if err != nil {
			t.Fatal(err)
		}
		copy(p, e.payload)
		if _, err = i.Call(h, e.ev, e.conn, e.arg, len(e.payload)); err != nil {
			trap := err.(*runtime.TrapError)
			return dir, trap.Tape
		}
	}
	t.Fatal("no trap")
	return "", ""
}

// tapedHost answers as a server would, more or less.
type tapedHost struct{ runtime.Host }

func (tapedHost) ConnSend(uint64, int32, []byte) runtime.Status             { return 0 }
func (tapedHost) TopicJoin(uint64, []byte) runtime.Status                   { return 0 }
func (tapedHost) TopicPublish([]byte, int32, []byte, uint64) runtime.Status { return 0 }
func (tapedHost) ConnStateSet(uint64, []byte) runtime.Status                { return 0 }
func (tapedHost) UpgradeHeader([]byte) ([]byte, runtime.Status)             { return nil, runtime.StatusNotFound }
func (tapedHost) ConnAttr(conn uint64, name []byte) ([]byte, runtime.Status) {
	switch string(name) {
	case "path":
		return []byte("/room/a"), 0
	case "query":
		return []byte("name=ann"), 0
	}
	return nil, runtime.StatusNotFound
}

const (
	puppetModule = "../../host/testdata/puppet.wasm"  // does what the client's words say
	lettersGuest = "../../runtime/testdata/tape.wasm" // and their letters
)

func TestATapeIsReplayed(t *testing.T) {
	_, tape := trapped(t, puppetModule, "echo hi", "attr path", "echo last;trap")
	code, out, errOut := command(t, Env{}, "replay", tape)
	if code != exitOK || !strings.Contains(out, "repeated: it trapped at the same place: unreachable") {
		t.Fatalf("exit code %d\n%s\n%s", code, out, errOut)
	}
	if want := "module puppet, generation 2, instance 0, from its birth; trapped at event 7: unreachable\n"; !strings.HasPrefix(out, want) {
		t.Errorf("it begins with\n%s", out)
	}
	if want := "       5  text     conn 7                   7 B     1 calls  = 0\n"; !strings.Contains(out, want) {
		t.Errorf("there is no line %q in\n%s", want, out)
	}

	code, out, _ = command(t, Env{}, "replay", tape, "--until", "5")
	if code != exitOK || !strings.HasSuffix(out, "stopped: all went as recorded so far\n") || strings.Contains(out, "       6  text") {
		t.Errorf("--until 5: exit code %d\n%s", code, out)
	}

	code, out, _ = command(t, Env{}, "replay", tape, "-o", "json")
	var report replayReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	if report.Outcome != runtime.ReplayRepeated || !report.SameModule || report.Trap == nil || report.Trap.Message != "unreachable" {
		t.Errorf("the report says %+v", report)
	}
}

func TestATapeIsReplayedOnAnotherModule(t *testing.T) {
	_, tape := trapped(t, lettersGuest, "sse", "sexs")
	wasm, err := os.ReadFile(lettersGuest)
	if err != nil {
		t.Fatal(err)
	}
	other := func(from, to string) string {
		if n := strings.Count(string(wasm), from); n != 1 {
			t.Fatalf("%x is there %d times", from, n)
		}
		file := filepath.Join(t.TempDir(), "other.wasm")
		if err := os.WriteFile(file, []byte(strings.Replace(string(wasm), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	fixed := other("\x41\xed\xbd\x01", "\x41\x80\x80\x00") // the constant that makes an x trap
	code, out, errOut := command(t, Env{}, "replay", tape, "--module", fixed)
	if code != exitOK || !strings.Contains(out, "passed: the event that trapped no longer does") {
		t.Errorf("the fixed one: exit code %d\n%s\n%s", code, out, errOut)
	}
	same := other("\x03mix", "\x03mux") // a name
	code, out, errOut = command(t, Env{}, "replay", tape, "--module", same)
	if code != exitFailed || !strings.Contains(out, "happened: it trapped: unreachable") ||
		!strings.Contains(errOut, "diverged from the tape at event 6 (text)") {
		t.Errorf("one that traps too: exit code %d\n%s\n%s", code, out, errOut)
	}
	strange := other("\x42\x95\xf8\xa9", "\x42\x96\xf8\xa9") // what it calculates with
	code, out, errOut = command(t, Env{}, "replay", tape, "--module", strange)
	if code != exitFailed || !strings.Contains(out, "recorded: conn_send(7, 2, ") || !strings.Contains(out, "happened: conn_send(7, 2, ") ||
		!strings.Contains(errOut, "diverged from the tape at event 5 (text)") {
		t.Errorf("one that says something else: exit code %d\n%s\n%s", code, out, errOut)
	}
}

func TestReplayRefusals(t *testing.T) {
	dir, tape := trapped(t, puppetModule, "trap")
	file, err := os.ReadFile(tape)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.tape")
	if err := os.WriteFile(broken, file[:len(file)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "alone.tape")
	if err := os.WriteFile(alone, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no tape", nil, "give one tape"},
		{"a tape that is not there", []string{"nothing.tape"}, "nothing.tape: no such file"},
		{"a tape that is damaged", []string{broken}, "tape: the entries at byte"},
		{"a file that is no tape", []string{echoModule}, "the file is not a tape"},
		{"a tape without its module", []string{alone}, ".wasm, is not beside it; name a file with --module"},
		{"a module that is none", []string{tape, "--module", tape}, "not a WebAssembly module"},
		{"a form that is none", []string{tape, "-o", "yaml"}, "-o yaml: write text or json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, errOut := command(t, Env{}, append([]string{"replay"}, tc.args...)...)
			if code != exitUsage || !strings.Contains(errOut, tc.want) {
				t.Errorf("exit code %d\n%s", code, errOut)
			}
		})
	}
}

// What the clients of a tape did happens again in the scenario, up to the trap.
func TestATapeBecomesAScenario(t *testing.T) {
	dir, tape := trapped(t, puppetModule, "echo hi", "join a;publish a hello", "attr path", "fail 3", "set x;trap")
	file := filepath.Join(dir, "trap.yaml")
	code, out, errOut := command(t, Env{WriteFile: os.WriteFile}, "replay", tape, "--to-scenario", file)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, out, errOut)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`- open: {c1: "/room/a?name=ann"}`,
		`- open: {c2: "/?name=ann"}`,
		`- send: {c1: {text: "echo hi"}}`,
		`- expect: {c1: {text: "hi"}}`,
		`- expect: {c1: {text: "hello"}}`,
		`- expect: {c1: {text: "/room/a"}}`,
		`# event 8 was refused with 3`,
		`# event 9 trapped: unreachable`,
		`- send: {c1: {text: "set x;trap"}}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}

	// Without the event that was refused, after which the server would have ended the connection, it can be played.
	_, tape = trapped(t, puppetModule, "echo hi", "echo /x/", "join a;publish a hello", "attr path", "set x;trap")
	file = filepath.Join(filepath.Dir(tape), "trap.yaml")
	if code, _, errOut = command(t, Env{WriteFile: os.WriteFile}, "replay", tape, "--to-scenario", file); code != exitOK {
		t.Fatal(errOut)
	}
	if code, out, errOut = command(t, Env{ReadDir: os.ReadDir}, "test", file); code != exitOK {
		text, _ := os.ReadFile(file)
		t.Errorf("the scenario fails: exit code %d\n%s\n%s\n%s", code, out, errOut, text)
	}
}
