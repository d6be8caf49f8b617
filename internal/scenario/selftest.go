package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weir/host"
)

// SelfTest plays the scenario file of that path against m, which is about to take
// over: in the place of the module of m's name, or, if the file names a module's
// file instead of a configuration, of that one. read reads the file and what it
// names. The error tells of every scenario that failed.
func SelfTest(ctx context.Context, path string, read func(name string) ([]byte, error), m host.Module, o EngineOptions) (err error) {
	f, err := Load(path, func(name string) ([]byte, error) {
		if p, err := read(name); err == nil || !strings.HasSuffix(name, ".wasm") {
			return p, err
		}
		return m.Wasm, nil // its file may be gone by now, or was never there
	})
	if err != nil {
		return err
	}
	if err := f.put(m); err != nil {
		return err
	}
	engine, err := NewEngine(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	var failed []error
	for _, r := range f.Run(ctx, Options{Engine: engine}).Results {
		if r.Failure != nil {
			failed = append(failed, fmt.Errorf("%s:%d: %s: expected %s; got %s", r.Failure.File, r.Failure.Line, r.Name, r.Failure.Expected, r.Failure.Got))
		}
	}
	return errors.Join(failed...)
}

// put gives a module of the file the bytes and settings of m.
func (f *File) put(m host.Module) error {
	m.SelfTest, m.Replaces = nil, 0
	m.Rollout = host.RolloutOptions{}
	for i := range f.modules {
		switch {
		case f.modules[i].Name == m.Name:
			f.modules[i] = m
			return nil
		case f.alone: // its settings are the file's
			f.modules[i].Wasm = m.Wasm
			return nil
		}
	}
	return fmt.Errorf("%s: no module %q is in its configuration", f.Path, m.Name)
}
