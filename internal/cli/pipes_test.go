//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/internal/config"
)

func TestAPipeIsNoModule(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "chat.wasm")
	must(t, syscall.Mkfifo(pipe, 0o600))
	endless := filepath.Join(folder, "endless.wasm")
	must(t, os.Symlink("/dev/zero", endless))
	for _, path := range []string{pipe, endless, folder} {
		_, err := readModules(&Env{ReadFile: os.ReadFile}, &config.Config{Modules: map[string]config.Module{"chat": {Path: path}}})
		if err == nil || !strings.Contains(err.Error(), "module chat: read "+path+": it is not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAPipeInPlaceOfAFileIsAChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chat.wasm")
	write(t, file, []byte("first"))
	w := newFileWatcher([]string{file}, nil)
	defer w.close()
	must(t, os.Remove(file))
	must(t, syscall.Mkfifo(file, 0o600))
	if found := w.scan(); len(found.outputs) != 1 {
		t.Errorf("a scan finds %+v", found)
	}
	if found := w.scan(); len(found.outputs) != 0 {
		t.Errorf("the next scan finds %+v", found)
	}
}
