package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the pages tell people to type is typed here, by a shell, in the order of the
// page, and what they show of the output has to come.
//
// A block of console or sh is commands: in console the lines that begin with "$ ",
// and the others are what is printed, where … stands for anything; in sh every
// line. A command that serves, follows or talks goes on in a terminal of its own
// until the page ends or takes its place; all others must end with 0, or with what
// a comment behind them says: # exit code 4. Ports are exchanged for free ones, in
// both directions. Comments in the lines before a block say what is unusual:
//
//	<!-- not run: WHY -->      it is not for this test
//	<!-- run in: FOLDER -->    from here on in a copy of that folder of the repository
//	<!-- first: COMMAND -->    what the reader has done before
//	<!-- file: NAME -->        the block, of any language, is a file that the reader has
//
// Pages of examples and SDKs begin in a copy of the repository, others in an empty
// folder.
var pagesOfCommands = []string{"*.md", "docs/*.md", "docs/languages/*.md", "examples/*/README.md", "guest-sdk/*/README.md"}

// block is a fenced block of a page.
type block struct {
	line     int // of the fence, from 1
	language string
	markers  []string // without <!-- and -->
	text     string
}

var markerLine = regexp.MustCompile(`^<!-- ((?:not run|run in|first|file): .+) -->$`)

// blocksOf takes a page apart.
func blocksOf(page string) []block {
	var all []block
	var markers []string
	inside := false
	for i, line := range strings.Split(page, "\n") {
		switch {
		case inside && line == "```":
			inside = false
		case inside:
			all[len(all)-1].text += line + "\n"
		case strings.HasPrefix(line, "```"):
			inside = true
			all = append(all, block{line: i + 1, language: strings.TrimPrefix(line, "```"), markers: markers})
			markers = nil
		default:
			if m := markerLine.FindStringSubmatch(line); m != nil {
				markers = append(markers, m[1])
			} else {
				markers = nil
			}
		}
	}
	return all
}

// mark is the value of a block's marker of that name.
func (b block) mark(name string) (value string, ok bool) {
	for _, m := range b.markers {
		if value, ok = strings.CutPrefix(m, name+": "); ok {
			return value, true
		}
	}
	return "", false
}

func (b block) isCommands() bool { return b.language == "console" || b.language == "sh" }

// typed is a command with what the page shows of its output.
type typed struct {
	command string
	code    string // that it ends with
	shown   []string
}

var exitCode = regexp.MustCompile(`\s+# exit code (\d+)$`)

func (b block) commands() []typed {
	var all []typed
	more := false // the line before ends with a backslash
	for line := range strings.Lines(b.text) {
		line = strings.TrimSuffix(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case more:
			all[len(all)-1].command += "\n" + line
		case b.language == "sh" && strings.TrimSpace(line) != "":
			all = append(all, typed{command: line})
		case isCommand:
			all = append(all, typed{command: command})
		case len(all) > 0 && strings.TrimSpace(line) != "":
			all[len(all)-1].shown = append(all[len(all)-1].shown, line)
		}
		more = strings.HasSuffix(line, `\`) && len(all) > 0
	}
	for i := range all {
		all[i].code = "0"
		if m := exitCode.FindStringSubmatch(all[i].command); m != nil {
			all[i].code = m[1]
		}
	}
	return all
}

// reader follows a page.
type reader struct {
	t       *testing.T
	home    string // a folder of its own
	folder  string // where the shell is
	environ []string
	ports   map[string]string // those of the page, and the ones used instead
	open    []*opened
}

// opened is a command that goes on, in a terminal of its own.
type opened struct {
	typed
	kind   string
	at     string // the line of the page
	cmd    *exec.Cmd
	output *lines
	input  interface{ Close() error }
	ended  chan error
}

func newReader(t *testing.T) *reader {
	home := t.TempDir()
	r := &reader{t: t, home: home, folder: filepath.Join(home, "work"), ports: map[string]string{}}
	weir, err := os.Executable()
	must(t, err, os.MkdirAll(filepath.Join(home, "bin"), 0o755), os.Mkdir(r.folder, 0o755))
	must(t, os.Symlink(weir, filepath.Join(home, "bin", "weir")))
	cache, _ := os.UserCacheDir()
	r.environ = append(realEnv().Environ, asProgram+"=1", "NO_COLOR=1", "CI=1",
		"PATH="+filepath.Join(home, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GOCACHE="+filepath.Join(cache, "go-build"), "XDG_CACHE_HOME="+filepath.Join(home, "cache"),
		"WEIR="+weir)
	r.environ = append(r.environ, "WEIR_SERVER_LISTEN="+r.exchange("127.0.0.1:8080"))
	t.Cleanup(r.close)
	return r
}

var portOf = regexp.MustCompile(`(127\.0\.0\.1|localhost|[ "'/(]):(\d{4,5})\b`)

// exchange replaces the ports of the page.
func (r *reader) exchange(text string) string {
	return portOf.ReplaceAllStringFunc(text, func(found string) string {
		before, port, _ := strings.Cut(found, ":")
		if r.ports[port] == "" {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(r.t, err)
			_, r.ports[port], _ = net.SplitHostPort(ln.Addr().String())
			must(r.t, ln.Close())
		}
		return before + ":" + r.ports[port]
	})
}

// asOnThePage puts the page's ports back.
func (r *reader) asOnThePage(output string) string {
	for page, real := range r.ports {
		output = strings.ReplaceAll(output, ":"+real, ":"+page)
	}
	return output
}

// follow does what one block says.
func (r *reader) follow(page string, b block) {
	r.t.Helper()
	if folder, ok := b.mark("run in"); ok {
		r.folder = filepath.Join(r.home, fmt.Sprintf("line%d", b.line))
		copyRepository(r.t, folder, r.folder)
	}
	if command, ok := b.mark("first"); ok {
		output, err := r.shell(command).CombinedOutput()
		if err != nil {
			r.t.Fatalf("%s:%d: first: %s: %v\n%s", page, b.line, command, err, output)
		}
	}
	if name, ok := b.mark("file"); ok {
		file := filepath.Join(r.folder, name)
		must(r.t, os.MkdirAll(filepath.Dir(file), 0o755))
		write(r.t, file, []byte(r.exchange(b.text)))
		return
	}
	for _, c := range b.commands() {
		at := fmt.Sprintf("%s:%d", page, b.line)
		command := strings.Replace(c.command, "go run . ", "weir ", 1)
		r.needsTools(command)
		if folder, ok := strings.CutPrefix(command, "cd "); ok && !strings.Contains(folder, "&&") {
			r.folder = filepath.Join(r.folder, folder)
			if info, err := os.Stat(r.folder); err != nil || !info.IsDir() {
				r.t.Fatalf("%s: %s: there is no such folder", at, command)
			}
			continue
		}
		if kind := goesOn(command); kind != "" {
			r.start(at, kind, command, c)
			continue
		}
		output, err := r.shell(command).CombinedOutput()
		r.t.Logf("$ %s\n%s", command, output)
		if code := codeOf(err); code != c.code {
			r.t.Fatalf("%s: %s: exit code %s, want %s\n%s", at, c.command, code, c.code, output)
		}
		r.compare(at, c, string(output))
	}
}

func codeOf(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		return fmt.Sprint(exit.ExitCode())
	}
	if err != nil {
		return err.Error()
	}
	return "0"
}

func (r *reader) shell(command string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", r.exchange(command))
	cmd.Dir, cmd.Env = r.folder, r.environ
	return cmd
}

// readyWhen is what commands that go on say once they do.
var readyWhen = map[string]string{
	"serve": "listening on ", "dev": "listening on ", "demo": "listening on ",
	"tail": "Ctrl-C ends it", "logs": "Ctrl-C ends it", "watch": "Ctrl-C ends it", "connect": "connected to ",
}

var longCommand = regexp.MustCompile(`^weir (serve|dev|demo|tail|connect)\b`)

// goesOn says of what kind a command is that does not end by itself; empty: it does.
func goesOn(command string) string {
	command, _, _ = strings.Cut(command, " #")
	switch m := longCommand.FindStringSubmatch(command); {
	case strings.Contains(command, "|"):
		return ""
	case m != nil:
		return m[1]
	case strings.HasPrefix(command, "weir logs") && (strings.Contains(command, " -f") || strings.Contains(command, "--follow")):
		return "logs"
	case strings.HasPrefix(command, "weir test") && strings.Contains(command, "--watch"):
		return "watch"
	}
	return ""
}

// readersPatience is enough for compilers that share the machine.
const readersPatience = 5 * time.Minute

// start runs a command in a terminal of its own. Of servers there is one at a time.
func (r *reader) start(at, kind, command string, c typed) {
	r.t.Helper()
	if kind == "serve" || kind == "dev" || kind == "demo" {
		for len(r.open) > 0 {
			r.leave()
		}
	}
	cmd := r.shell("exec " + command)
	term := &opened{typed: c, kind: kind, at: at, cmd: cmd, output: newLines(), ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = term.output, term.output
	input, err := cmd.StdinPipe() // nobody types, and nobody leaves
	must(r.t, err, cmd.Start())
	term.input = input
	go func() { term.ended <- cmd.Wait() }() // ends with leave, or by itself
	r.open = append(r.open, term)
	term.output.waitLong(r.t, readyWhen[kind], 1, readersPatience)
}

// leave ends the terminal that was opened last, and looks at what it has printed.
func (r *reader) leave() {
	r.t.Helper()
	term := r.open[len(r.open)-1]
	r.open = r.open[:len(r.open)-1]
	if strings.Contains(term.command, "--limit") { // it ends by itself
		r.waitFor(term)
	}
	select {
	case err := <-term.ended:
		term.ended <- err
	default:
		must(r.t, term.cmd.Process.Signal(syscall.SIGINT))
	}
	err := r.waitFor(term)
	term.input.Close()
	r.t.Logf("$ %s\n%s", term.command, term.output)
	if code := codeOf(err); code != term.code {
		r.t.Errorf("%s: %s: exit code %s, want %s\n%s", term.at, term.command, code, term.code, term.output)
	}
	r.compare(term.at, term.typed, term.output.String())
}

func (r *reader) waitFor(term *opened) error {
	r.t.Helper()
	select {
	case err := <-term.ended:
		term.ended <- err
		return err
	case <-time.After(readersPatience):
		term.cmd.Process.Kill()
		r.t.Fatalf("%s: %s: it did not end; it said\n%s", term.at, term.command, term.output)
		return nil
	}
}

func (r *reader) close() {
	for _, term := range r.open { // those of a test that has failed
		term.cmd.Process.Kill()
	}
}

// compare looks for each line that the page shows, in order, in what was printed.
func (r *reader) compare(at string, c typed, output string) {
	r.t.Helper()
	rest := strings.Split(r.asOnThePage(output), "\n")
	for _, shown := range c.shown {
		want := lineThatIs(shown)
		i := slices.IndexFunc(rest, func(line string) bool { return want.MatchString(strings.Join(strings.Fields(line), " ")) })
		if i < 0 {
			r.t.Errorf("%s: %s: the page shows %q, which was not printed (in that order):\n%s", at, c.command, shown, output)
			return
		}
		rest = rest[i+1:]
	}
}

// lineThatIs matches a line of a page: … is anything, spaces are as many as one.
func lineThatIs(shown string) *regexp.Regexp {
	parts := strings.Split(strings.Join(strings.Fields(shown), " "), "…")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
}

var firstWord = regexp.MustCompile(`(?:^|&&\s*|\|\s*)(?:[A-Z_]+=\S+\s+)*([A-Za-z0-9_./-]+)`)

// needsTools skips the page when a command needs a program that is not there.
func (r *reader) needsTools(command string) {
	r.t.Helper()
	for _, m := range firstWord.FindAllStringSubmatch(command, -1) {
		if m[1] == "weir" || m[1] == "cd" || strings.HasPrefix(m[1], "./") { // what a page has built
			continue
		}
		if _, err := exec.LookPath(m[1]); err != nil {
			if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
				r.t.Fatalf("needs %s: make tools", m[1])
			}
			r.t.Skipf("needs %s", m[1])
		}
	}
}

// copyRepository copies a folder of the repository; of the whole, what handlers are
// made of.
func copyRepository(t *testing.T, folder, to string) {
	t.Helper()
	inside := []string{""}
	if folder == "." {
		inside = []string{"examples", "guest-sdk", "internal/cli/demo"}
	}
	for _, f := range inside {
		must(t, os.CopyFS(filepath.Join(to, f), os.DirFS(filepath.Join(repositoryRoot(t), folder, f))))
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	must(t, err)
	return root
}

// pagesToRead are those whose commands are run, by their path in the repository.
func pagesToRead(t *testing.T) map[string]string {
	t.Helper()
	root := repositoryRoot(t)
	all := map[string]string{}
	for _, pattern := range pagesOfCommands {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			name, err := filepath.Rel(root, file)
			must(t, err)
			all[filepath.ToSlash(name)] = string(text)
		}
	}
	return all
}

func TestWhatThePagesTellPeopleToTypeWorks(t *testing.T) {
	pages := pagesToRead(t)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		page := pages[name]
		blocks := slices.DeleteFunc(blocksOf(page), func(b block) bool {
			_, notRun := b.mark("not run")
			_, isFile := b.mark("file")
			return notRun || !b.isCommands() && !isFile
		})
		if !slices.ContainsFunc(blocks, block.isCommands) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if underRace || testing.Short() {
				t.Skip("compilers take seconds, and what the race detector looks for is elsewhere")
			}
			for _, l := range languagesBuiltOn(name, blocks) {
				needsLanguage(t, l)
			}
			t.Parallel() // each reader has a folder, processes and ports of its own
			r := newReader(t)
			if strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "guest-sdk/") { // read in a clone
				copyRepository(t, ".", r.folder)
			}
			for _, b := range blocks {
				r.follow(name, b)
			}
			for len(r.open) > 0 {
				r.leave()
			}
		})
	}
}

// languagesBuiltOn are those that the commands of a page compile.
func languagesBuiltOn(name string, blocks []block) []*language {
	var text string
	for _, b := range blocks {
		text += strings.Join(b.markers, "\n") + "\n" + b.text
	}
	if !regexp.MustCompile(`weir (build|new|dev)\b`).MatchString(text) {
		return nil // what is served is committed, or made by the page's own commands
	}
	folder := path.Base(path.Dir(name))
	return slices.DeleteFunc(languages(), func(l *language) bool {
		of := strings.HasSuffix(folder, "-"+l.name) || name == "guest-sdk/js/README.md" && l == languageTS
		return !of && !regexp.MustCompile(`--lang `+l.name+`\b`).MatchString(text)
	})
}

func TestEveryPageWithCommandsIsOneOfThem(t *testing.T) {
	root, read := repositoryRoot(t), pagesToRead(t)
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, path)
		if err != nil || relErr != nil {
			return errors.Join(err, relErr)
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "target"}, d.Name())) {
				return fs.SkipDir
			}
			return nil
		}
		if _, ok := read[filepath.ToSlash(name)]; ok || filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if slices.ContainsFunc(blocksOf(string(text)), block.isCommands) {
			t.Errorf("nobody types the commands of %s; see pagesOfCommands", name)
		}
		return err
	}))
}

func TestLinesOfAPage(t *testing.T) {
	page := "text\n<!-- not run: why -->\n```sh\na\n```\n\n<!-- file: x.yaml -->\n```yaml\nk: v\n```\n```console\n$ weir x \\\n    y   # exit code 4\nweir: no …\n$ weir z\n```\n"
	blocks := blocksOf(page)
	if len(blocks) != 3 || !slices.Equal(blocks[0].markers, []string{"not run: why"}) || blocks[1].text != "k: v\n" || blocks[2].markers != nil {
		t.Fatalf("got %+v", blocks)
	}
	commands := blocks[2].commands()
	if len(commands) != 2 || commands[0].code != "4" || !slices.Equal(commands[0].shown, []string{"weir: no …"}) || commands[1].code != "0" {
		t.Errorf("got %+v", commands)
	}
	want := lineThatIs("weir: no …")
	for line, matches := range map[string]bool{"weir: no such thing": true, "weir: yes": false, "a weir: no such": false} {
		if got := want.MatchString(line); got != matches {
			t.Errorf("%q: %v", line, got)
		}
	}
	for command, kind := range map[string]string{
		"weir tail --limit 1": "tail", "weir logs -f": "logs", "weir logs -n 3": "", "echo hi | weir connect x": "", "weir connect x": "connect",
		"weir test --watch  # again": "watch", "weir test": "", "weir served": "",
	} {
		if got := goesOn(command); got != kind {
			t.Errorf("%s: %q", command, got)
		}
	}
}
