package cli

import (
	"errors"
	"os"
	"path/filepath"
)

// replacement is a file that is about to take the place of another.
type replacement struct{ from, to string }

// besideFile writes what is to take the place of the file, or of what a link of
// that name leads to, beside it: commit or discard it.
func besideFile(name string, text []byte) (_ *replacement, err error) {
	to, err := filepath.EvalSymlinks(name)
	if err != nil {
		to = name // it is not there
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(to); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".weir-*.wasm")
	if err != nil {
		return nil, err
	}
	r := &replacement{f.Name(), to}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return nil, errors.Join(err, r.discard())
	}
	return r, nil
}

func (r *replacement) commit() error {
	if err := os.Rename(r.from, r.to); err != nil {
		return errors.Join(err, r.discard())
	}
	folder, err := os.Open(filepath.Dir(r.to))
	if err != nil {
		return err
	}
	_ = folder.Sync() // some systems cannot; the file itself is safe
	return folder.Close()
}

func (r *replacement) discard() error { return os.Remove(r.from) }
