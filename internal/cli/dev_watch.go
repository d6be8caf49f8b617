package cli

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
)

const (
	// maxWatchedFiles bounds a project; what is beyond is not watched.
	maxWatchedFiles = 20_000
	// maxHashedBytes bounds the files whose content is compared; of a longer one
	// only size and time are.
	maxHashedBytes = 16 << 20
)

// watcher knows the files of a project, or some files wherever they are, and
// tells which of them have another content than before. The system's notices only say when to look: what is true
// is what scan finds, so that a notice too many or too few does no harm.
//
// One goroutine has it; events may be received from by any.
type watcher struct {
	root    string   // empty: the outputs are all there is
	outputs []string // files that a build makes; watched wherever they are, and no sources
	skipped []string // folders that are served as they are
	logger  *slog.Logger

	notify  *fsnotify.Watcher // nil: the system gives no notices
	files   map[string]fileState
	made    map[string]fileState // of outputs
	noticed map[string]bool      // what notices named since the last scan
	warned  bool                 // that something is not watched
}

// fileState is what a file held when it was looked at.
type fileState struct {
	size    int64
	time    int64 // of its last change, Unix nanoseconds
	content [sha256.Size]byte
}

// changes is what differs from the scan before, each list in order.
type changes struct {
	sources []string // changed, come or gone
	outputs []string // changed or come
}

func (c changes) none() bool { return len(c.sources)+len(c.outputs) == 0 }

// newWatcher begins to watch root and the outputs. Close it.
func newWatcher(root string, outputs, skipped []string, logger *slog.Logger) *watcher {
	w := &watcher{root: filepath.Clean(root), logger: logger, noticed: map[string]bool{}}
	w.begin(outputs, skipped)
	return w
}

// newFileWatcher begins to watch these files, in whatever way they are replaced:
// written in place, renamed over, by a link that leads elsewhere. Close it.
func newFileWatcher(files []string, logger *slog.Logger) *watcher {
	w := &watcher{logger: logger, noticed: map[string]bool{}}
	w.begin(files, nil)
	return w
}

func (w *watcher) begin(outputs, skipped []string) {
	w.expect(outputs, skipped)
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.warn("the system gives no notice of changes; looking every now and then", err)
	} else {
		w.notify = notify
	}
	w.scan()
}

// expect changes what is no source; the next scan reports no output that it has
// not seen before as changed.
func (w *watcher) expect(outputs, skipped []string) {
	clean := func(paths []string) []string {
		all := make([]string, len(paths))
		for i, p := range paths {
			all[i] = filepath.Clean(p)
		}
		return all
	}
	w.outputs, w.skipped = clean(outputs), clean(skipped)
	w.settle()
}

// refocus watches these files from now on; what has changed since the last scan of
// those that it knows is found by the next. For who has begun with newFileWatcher.
func (w *watcher) refocus(files []string) {
	known := w.made
	w.expect(files, nil)
	for path := range w.made {
		if before, ok := known[path]; ok {
			w.made[path] = before
		}
	}
}

func (w *watcher) close() {
	if w.notify != nil {
		w.notify.Close() // a descriptor that nobody writes to
	}
}

// events are the notices; note says which of them matter.
func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

// errors tell that notices were lost, which the next scan makes good.
func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// note takes a notice and reports whether it is worth a scan.
func (w *watcher) note(e fsnotify.Event) bool {
	path := filepath.Clean(e.Name)
	if w.root == "" { // a link beside a file may be what it leads through; a log that grows there is not
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && !slices.Contains(w.outputs, path) {
			return false
		}
		for _, output := range w.outputs {
			w.noticed[output] = true
		}
		return true
	}
	if !slices.Contains(w.outputs, path) && (isScratch(filepath.Base(path)) || w.isSkipped(path)) {
		return false
	}
	w.noticed[path] = true
	return true
}

// scan looks at everything.
func (w *watcher) scan() changes {
	files := make(map[string]fileState, len(w.files))
	if w.root != "" {
		w.walk(w.root, files, map[string]bool{})
	}
	var found changes
	for path, now := range files {
		if before, ok := w.files[path]; !ok || before.content != now.content {
			found.sources = append(found.sources, path)
		}
	}
	for path := range w.files {
		if _, ok := files[path]; !ok {
			found.sources = append(found.sources, path)
		}
	}
	w.files = files
	for _, path := range w.outputs {
		before, known := w.made[path]
		now, err := w.look(path, w.made)
		if err != nil {
			continue // a build may be replacing it
		}
		w.made[path] = now
		if !known || before.content != now.content {
			found.outputs = append(found.outputs, path)
		}
		w.watch(filepath.Dir(path))
	}
	clear(w.noticed)
	slices.Sort(found.sources)
	slices.Sort(found.outputs)
	return found
}

// settle takes the outputs as they are now for known.
func (w *watcher) settle() {
	w.made = map[string]fileState{}
	for _, path := range w.outputs {
		if now, err := w.look(path, nil); err == nil {
			w.made[path] = now
		}
	}
}

// walk adds what is below folder to files. followed holds the folders that links
// have led to, so that a circle of links ends.
func (w *watcher) walk(folder string, files map[string]fileState, followed map[string]bool) {
	w.watch(folder) // before it is read: what comes later gives notice
	entries, err := os.ReadDir(folder)
	if err != nil && len(entries) == 0 {
		return // it has gone
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "CACHEDIR.TAG" }) && folder != w.root {
		return // as compilers mark what they leave (https://bford.info/cachedir)
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if isScratch(e.Name()) || slices.Contains(w.outputs, path) || w.isSkipped(path) {
			continue
		}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			mode = w.follow(path, followed)
		}
		switch {
		case mode.IsDir():
			w.walk(path, files, followed)
		case !mode.IsRegular():
		case len(files) >= maxWatchedFiles:
			w.warn("the project has too many files; some are not watched", nil)
			return
		default:
			if now, err := w.look(path, w.files); err == nil {
				files[path] = now
			}
		}
	}
}

// follow is the mode of what a link leads to; a folder only the first time, and
// none that is walked anyway.
func (w *watcher) follow(path string, followed map[string]bool) fs.FileMode {
	const neither = fs.ModeIrregular
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return neither
	}
	info, err := os.Stat(real)
	if err != nil {
		return neither
	}
	if !info.IsDir() {
		w.watch(filepath.Dir(real)) // notices come from where the file is
		w.noticed[path] = true      // under another name, so it is always looked at
		return info.Mode().Type()
	}
	root, err := filepath.EvalSymlinks(w.root)
	if err != nil || isBelow(real, root) || isBelow(root, real) || followed[real] {
		return neither
	}
	followed[real] = true
	return info.Mode().Type()
}

// look reads a file's state, or takes it from known when nothing says that the
// file has changed.
func (w *watcher) look(path string, known map[string]fileState) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	if !info.Mode().IsRegular() { // a pipe would be waited for, a device need not end
		return fileState{content: sha256.Sum256([]byte(info.Mode().String()))}, nil
	}
	now := fileState{size: info.Size(), time: info.ModTime().UnixNano()}
	before, ok := known[path]
	if ok && !w.noticed[path] && before.size == now.size && before.time == now.time {
		return before, nil
	}
	if now.size > maxHashedBytes {
		now.content = sha256.Sum256([]byte(info.ModTime().String()))
		return now, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fileState{}, err
	}
	now.content = sha256.Sum256(content)
	return now, nil
}

// watch asks for notices of a folder; again does no harm, and is needed after
// another folder has taken its place.
func (w *watcher) watch(folder string) {
	if w.notify == nil {
		return
	}
	if err := w.notify.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.warn("the system watches no more folders; looking every now and then", err)
	}
}

func (w *watcher) warn(message string, err error) {
	if w.warned {
		return
	}
	w.warned = true
	if err != nil {
		w.logger.Warn(message, "err", err)
	} else {
		w.logger.Warn(message)
	}
}

func (w *watcher) isSkipped(path string) bool {
	return slices.ContainsFunc(w.skipped, func(folder string) bool { return isBelow(path, folder) })
}

// isBelow reports whether path is folder or in it.
func isBelow(path, folder string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// scratchEndings are those of files that editors leave beside the real one for
// a moment.
var scratchEndings = []string{"~", ".swp", ".swo", ".swx", ".tmp", ".bak", "___jb_tmp___", "___jb_old___"}

// isScratch reports whether a file or folder of that name is nobody's source:
// hidden, an editor's, or a dependency's.
func isScratch(name string) bool {
	switch {
	case strings.HasPrefix(name, "."), name == "node_modules", name == "4913": // vim's, to see whether it may write
		return true
	case strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"): // Emacs
		return true
	}
	return slices.ContainsFunc(scratchEndings, func(ending string) bool { return strings.HasSuffix(name, ending) })
}
