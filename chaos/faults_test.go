package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// faultRow is a line of docs/faults.md.
type faultRow struct {
	id, tries, happened string
	canary, control     samples // of wire; nil for what tell was told
}

var faultRows struct {
	mu  sync.Mutex
	all []faultRow
}

// noteFault adds a line to the list that TestTable writes.
func noteFault(r faultRow) {
	faultRows.mu.Lock()
	defer faultRows.mu.Unlock()
	faultRows.all = append(faultRows.all, r)
}

// tell logs what came of a fault and adds it to the list.
func tell(t *testing.T, id, tries, format string, args ...any) {
	t.Helper()
	happened := fmt.Sprintf(format, args...)
	t.Log(happened)
	if t.Failed() {
		happened = "FAILED: " + happened
	}
	noteFault(faultRow{id: id, tries: tries, happened: happened})
}

const faultsPage = "../docs/faults.md"

// writeFaults writes the list of all faults that were tried where WEIR_FAULTS_OUT says; make faults does that.
func writeFaults(t *testing.T) {
	out := os.Getenv("WEIR_FAULTS_OUT")
	if out == "" {
		return
	}
	faultRows.mu.Lock()
	defer faultRows.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, `# Faults that were tried

<!-- Made by: make faults -->

Each line is a test of [chaos](../chaos), which starts the real binary and does this to it; the ID is part of the test's
name. All the while a canary, a well-behaved module on connections of its own, echoes hundreds of messages a second: none
may be lost, and p99 stays below %v ms above that of a second server to which nothing is done. The process lives on, every
connection is counted once when it comes and once when it ends, and connections, goroutines and descriptors go back to what
they were. Limits that would take long to reach are set lower (handshake_timeout and message_timeout %v, close_timeout %v,
inbound_budget %d MiB).

`, ms(late), messageTimeout, closeTimeout, inboundBudget>>20)
	fmt.Fprintf(&b, "Measured %s on %s, %d processors, %s, at commit %s, by `make faults`.\n\n", time.Now().UTC().Format("2006-01-02"), processor(), goruntime.NumCPU(), goruntime.Version(), commit())
	b.WriteString("## Peers\n\n| ID | what the peer does | what came of it | canary p50 ms | p99 | control p99 |\n|---|---|---|---|---|---|\n")
	for _, r := range faultRows.all {
		if r.canary == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.id, cell(r.tries), cell(r.happened), ms(r.canary.quantile(.5)), ms(r.canary.quantile(.99)), ms(r.control.quantile(.99)))
	}
	b.WriteString("\n## Load, and the system around it\n\nThese have servers of their own.\n\n| ID | what happens | what came of it |\n|---|---|---|\n")
	for _, r := range faultRows.all {
		if r.canary == nil {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.id, cell(r.tries), cell(r.happened))
		}
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	b.WriteString("\n## Modules, when they are loaded\n\n| ID | module | what it tries | what came of it | ms until then | peak MiB |\n|---|---|---|---|---|---|\n")
	for _, r := range table.rows {
		if r.h.atLoad() {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", strings.Join(r.h.rows, " "), r.h.name, cell(r.h.about), r.outcome, ms(r.stop), r.peakKiB>>10)
		}
	}
	b.WriteString("\n## Modules, when they run\n\n| ID | module | what it tries | what came of it | ms until then, worst | canary p99 ms | control p99 |\n|---|---|---|---|---|---|---|\n")
	for _, r := range table.rows {
		if !r.h.atLoad() {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", strings.Join(r.h.rows, " "), r.h.name, cell(r.h.about), cell(r.outcome), ms(r.stop), ms(r.echoes.quantile(.99)), ms(r.control.quantile(.99)))
		}
	}
	if err := os.WriteFile(out, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cell is text for a table in Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(s)
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	if m := regexp.MustCompile(`(?m)^model name\s*: (.+)$`).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return goruntime.GOARCH
}

func commit() string {
	cmd := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*")
	cmd.Dir = root
	said, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(said))
}

// toldFaults are those that tests of their own tell of, where the system lets them.
var toldFaults = []string{
	"T-036", "T-037", "T-042", "T-044", "T-046", "T-047", "T-048", "T-050", "T-053", "T-054", "T-057", "T-065", "T-066", "T-097", "T-105", "T-106", "T-107",
}

func TestTheListOfFaultsNamesEveryOne(t *testing.T) {
	page, err := os.ReadFile(faultsPage)
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^\| ([T0-9 -]+) \|`).FindAllStringSubmatch(string(page), -1)
	has := func(id string) bool {
		return slices.ContainsFunc(listed, func(m []string) bool { return slices.Contains(strings.Fields(m[1]), id) })
	}
	var missing []string
	for _, f := range wireFaults() {
		if !has(f.id) {
			missing = append(missing, f.id)
		}
	}
	for _, id := range toldFaults {
		if !has(id) {
			missing = append(missing, id)
		}
	}
	for _, h := range cases(t) {
		if !strings.Contains(string(page), "| "+h.name+" |") {
			missing = append(missing, h.name)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%s does not tell of %v; make faults", faultsPage, missing)
	}
	if strings.Contains(string(page), "FAILED") {
		t.Errorf("%s tells of a fault that was not survived", faultsPage)
	}
}
