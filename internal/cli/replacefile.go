package cli

import (
	"errors"
	"path/filepath"
)

// replaceFile writes a file whole or not at all: whoever reads it meanwhile finds
// the old bytes or the new ones.
func replaceFile(env *Env, path string, content []byte) error {
	made := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := env.WriteFile(made, content, 0o644); err != nil {
		return err
	}
	if err := env.Rename(made, path); err != nil {
		return errors.Join(err, env.Remove(made))
	}
	return nil
}
