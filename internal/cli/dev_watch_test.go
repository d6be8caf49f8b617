package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// However an editor saves, it is seen by its notice, without a poll.
func TestEveryWayOfSavingIsSeen(t *testing.T) {
	for _, tc := range []struct {
		name string
		save func(t *testing.T, folder, elsewhere string) error
		want string // the path that has changed, below the folder
	}{
		{"in place", func(t *testing.T, folder, _ string) error {
			return os.WriteFile(filepath.Join(folder, "a.c"), []byte("new"), 0o644)
		}, "a.c"},
		{"in place, with the size and the time of before", func(t *testing.T, folder, _ string) error {
			file := filepath.Join(folder, "a.c")
			info, err := os.Stat(file)
			must(t, err, os.WriteFile(file, []byte("wen"), 0o644))
			return os.Chtimes(file, info.ModTime(), info.ModTime())
		}, "a.c"},
		{"a new file takes the place", func(t *testing.T, folder, _ string) error {
			must(t, os.WriteFile(filepath.Join(folder, ".a.c.swp"), []byte("new"), 0o644))
			return os.Rename(filepath.Join(folder, ".a.c.swp"), filepath.Join(folder, "a.c"))
		}, "a.c"},
		{"the old one becomes a backup first", func(t *testing.T, folder, _ string) error {
			must(t, os.Rename(filepath.Join(folder, "a.c"), filepath.Join(folder, "a.c~")))
			return os.WriteFile(filepath.Join(folder, "a.c"), []byte("new"), 0o644)
		}, "a.c"},
		{"removed and written again", func(t *testing.T, folder, _ string) error {
			must(t, os.Remove(filepath.Join(folder, "a.c")))
			return os.WriteFile(filepath.Join(folder, "a.c"), []byte("new"), 0o644)
		}, "a.c"},
		{"a file comes", func(t *testing.T, folder, _ string) error {
			return os.WriteFile(filepath.Join(folder, "b.c"), []byte("new"), 0o644)
		}, "b.c"},
		{"a file goes", func(t *testing.T, folder, _ string) error {
			return os.Remove(filepath.Join(folder, "deep", "er", "c.c"))
		}, "deep/er/c.c"},
		{"deep below", func(t *testing.T, folder, _ string) error {
			return os.WriteFile(filepath.Join(folder, "deep", "er", "c.c"), []byte("new"), 0o644)
		}, "deep/er/c.c"},
		{"a folder comes with files", func(t *testing.T, folder, _ string) error {
			must(t, os.MkdirAll(filepath.Join(folder, "new", "er"), 0o755))
			return os.WriteFile(filepath.Join(folder, "new", "er", "d.c"), []byte("new"), 0o644)
		}, "new/er/d.c"},
		{"a folder takes another's place, and a file in it changes", func(t *testing.T, folder, elsewhere string) error {
			must(t, os.Rename(filepath.Join(folder, "deep"), filepath.Join(elsewhere, "deep")), os.Mkdir(filepath.Join(folder, "deep"), 0o755))
			return os.WriteFile(filepath.Join(folder, "deep", "e.c"), []byte("new"), 0o644)
		}, "deep/e.c"},
		{"a link leads to another file", func(t *testing.T, folder, elsewhere string) error {
			must(t, os.WriteFile(filepath.Join(elsewhere, "2.c"), []byte("new"), 0o644), os.Symlink(filepath.Join(elsewhere, "2.c"), filepath.Join(folder, "tmp-link")))
			return os.Rename(filepath.Join(folder, "tmp-link"), filepath.Join(folder, "link.c"))
		}, "link.c"},
		{"the file behind a link changes", func(t *testing.T, _, elsewhere string) error {
			return os.WriteFile(filepath.Join(elsewhere, "1.c"), []byte("new"), 0o644)
		}, "link.c"},
		{"a file in a folder behind a link changes", func(t *testing.T, _, elsewhere string) error {
			return os.WriteFile(filepath.Join(elsewhere, "lib", "l.c"), []byte("new"), 0o644)
		}, "lib/l.c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := writeFiles(t, map[string]string{"a.c": "old", "deep/er/c.c": "old"})
			elsewhere := writeFiles(t, map[string]string{"1.c": "old", "lib/l.c": "old"})
			must(t, os.Symlink(filepath.Join(elsewhere, "1.c"), filepath.Join(folder, "link.c")),
				os.Symlink(filepath.Join(elsewhere, "lib"), filepath.Join(folder, "lib")),
				os.Symlink(folder, filepath.Join(folder, "circle")))
			w := newWatcher(folder, nil, nil, slog.New(slog.DiscardHandler))
			defer w.close()
			must(t, tc.save(t, folder, elsewhere))
			want := filepath.Join(folder, filepath.FromSlash(tc.want))
			timeout := time.After(patience)
			for {
				select {
				case e := <-w.events():
					if w.note(e) && slices.Contains(w.scan().sources, want) {
						return
					}
				case <-timeout:
					t.Fatalf("no notice of %s", want)
				}
			}
		})
	}
}

func TestWhatIsNobodysSourceIsLeftAlone(t *testing.T) {
	folder := writeFiles(t, map[string]string{"a.c": "", "target/CACHEDIR.TAG": "", "public/x": "", "node_modules/x": "", ".git/x": ""})
	output := filepath.Join(folder, "a.wasm")
	w := newWatcher(folder, []string{output}, []string{filepath.Join(folder, "public")}, slog.New(slog.DiscardHandler))
	defer w.close()
	for _, name := range []string{".a.c.swp", "a.c~", "#a.c#", "4913", "a.tmp", "target/x", "public/y", "node_modules/y", ".git/y"} {
		save(t, folder, name, "new")
		if found := w.scan(); !found.none() {
			t.Errorf("%s: %+v", name, found)
		}
	}
	save(t, folder, "a.wasm", emptyModule)
	if found := w.scan(); len(found.sources) != 0 || !slices.Equal(found.outputs, []string{output}) {
		t.Errorf("what is built elsewhere: %+v", found)
	}
	save(t, folder, "a.wasm", emptyModule+"x")
	w.settle()
	if found := w.scan(); !found.none() {
		t.Errorf("what is built here: %+v", found)
	}
}

// Where the system gives no notice, or loses one, a look is enough.
func TestAScanNeedsNoNotice(t *testing.T) {
	folder := writeFiles(t, map[string]string{"a.c": "old"})
	w := newWatcher(folder, nil, nil, slog.New(slog.DiscardHandler))
	w.close()
	w.notify = nil
	save(t, folder, "a.c", "newer")
	if found := w.scan(); !slices.Equal(found.sources, []string{filepath.Join(folder, "a.c")}) {
		t.Errorf("found %+v", found)
	}
	if found := w.scan(); !found.none() {
		t.Errorf("and again %+v", found)
	}
}
