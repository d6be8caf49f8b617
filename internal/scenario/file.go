package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"weir/host"
	"weir/internal/config"
	"weir/runtime"
)

// File is a scenario file, ready to be played. It does not change any more, and
// may be played by several goroutines.
type File struct {
	// Path is the file as it was given to Load.
	Path string
	// Seed is the file's own; 1 when it has none.
	Seed uint64
	// Scenarios are in the order of the file. There is at least one.
	Scenarios []*Scenario
	// Sources are all the files that it was made of, itself the first: a change
	// of one of them may change what happens.
	Sources []string

	options host.Options
	modules []host.Module // in the order of their names
	alone   bool          // the file names one module's file, and no configuration
}

// Scenario is one story, played in a world of its own.
type Scenario struct {
	// Name is a sentence about behaviour.
	Name string
	// Line is where it stands in the file, from 1.
	Line int
	// Skip says why it is left out; empty when it is not.
	Skip string
	// Only leaves out the other scenarios of the file.
	Only bool

	steps []placed
}

// placed is a step with its place.
type placed struct {
	action
	kind   string // its key
	line   int
	column int
	source string // its line of the file, without spaces around
}

// action is what a step does. It returns what went otherwise than it says.
type action interface {
	do(r *runner, at *placed) *Failure
}

// MissingError means that a module's file is not there.
type MissingError struct {
	// Path is the file, as it would be opened.
	Path string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("there is no %s; build it with `weir build %s`, or let `weir test --build` do so", e.Path, filepath.Dir(e.Path))
}

// Load reads the file of that path and all that it names, through read. The
// error joins every Mistake; modules that are not there are found in it as
// *MissingError, by errors.AsType or [Missing].
func Load(path string, read func(name string) ([]byte, error)) (*File, error) {
	content, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	l := loader{
		mistakes: mistakes{name: path, lines: strings.Split(string(content), "\n")},
		file:     &File{Path: path, Seed: 1, Sources: []string{path}},
		read:     read,
	}
	root, err := config.ParseNode(path, content)
	if m, ok := errors.AsType[config.Mistake](err); ok {
		l.add(m)
		return nil, errors.Join(l.errs()...)
	} else if err != nil {
		return nil, err
	}
	l.load(root)
	if err := errors.Join(append(l.errs(), l.others...)...); err != nil {
		return nil, err
	}
	return l.file, nil
}

// Missing lists the files of modules that an error of Load misses.
func Missing(err error) []string {
	var all []string
	var walk func(error)
	walk = func(err error) {
		if m, ok := err.(*MissingError); ok && !slices.Contains(all, m.Path) {
			all = append(all, m.Path)
		}
		switch e := err.(type) {
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		case interface{ Unwrap() error }:
			if one := e.Unwrap(); one != nil {
				walk(one)
			}
		}
	}
	walk(err)
	return all
}

// Modules lists the files of all modules that the scenario file names, whether
// they are there or not: what must be built before it can be loaded. A file with
// mistakes has those that can be told.
func Modules(path string, read func(name string) ([]byte, error)) []string {
	var all []string
	_, err := Load(path, func(name string) ([]byte, error) {
		if strings.HasSuffix(name, ".wasm") {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
			return []byte{}, nil
		}
		return read(name)
	})
	_ = err // whoever loads it next will tell
	return all
}

// loader makes a File.
type loader struct {
	mistakes
	file   *File
	read   func(string) ([]byte, error)
	others []error // mistakes of other files
	count  int     // of steps

	opened  map[string]bool // clients of the scenario being read
	guess   bool            // a step of it has mistakes: who was opened is not known
	bytesOf map[string][]byte
}

func (l *loader) load(root *config.Node) {
	l.bytesOf = map[string][]byte{}
	l.check(root, documentShape, "")
	if root.Kind != config.MapNode {
		return
	}
	if n := root.Get("seed"); n != nil {
		if seed, ok := wholeNumber(n.Scalar); ok {
			l.file.Seed = uint64(seed)
		}
	}
	if n := root.Get("module"); n != nil && n.Kind == config.TextNode {
		l.loadModule(root, n)
	} else if n := root.Get("config"); n != nil && n.Kind == config.TextNode {
		l.loadConfig(n)
	}
	list := root.Get("scenarios")
	if list == nil || list.Kind != config.ListNode {
		return
	}
	names := map[string]bool{}
	for i, n := range list.Items {
		s := l.scenario(n, fmt.Sprintf("scenarios[%d]", i))
		if s.Name == "" {
			continue
		}
		if names[s.Name] {
			l.at(n.Get("name"), fmt.Sprintf("scenarios[%d].name", i), "another scenario of this file has the same name")
		}
		names[s.Name] = true
		l.file.Scenarios = append(l.file.Scenarios, s)
	}
}

// beside is a path of the file as seen from the working directory.
func (l *loader) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.file.Path), name)
}

// open reads a file that n names. nil means that it cannot be read, which was
// noted.
func (l *loader) open(n *config.Node, key string, module bool) []byte {
	name := l.beside(n.Scalar.(string))
	if p, known := l.bytesOf[name]; known {
		return p
	}
	p, err := l.read(name)
	switch {
	case err == nil:
		if p == nil {
			p = []byte{}
		}
		l.bytesOf[name] = p
		l.file.Sources = append(l.file.Sources, name)
		return p
	case module && errors.Is(err, fs.ErrNotExist):
		l.others = append(l.others, fmt.Errorf("%s: %s: %w", n.Origin, key, &MissingError{Path: name}))
	default:
		l.at(n, key, "%s: %v", name, reason(err))
	}
	return nil
}

// reason is an error without the name of the file, which is told already.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// loadModule takes one module for every path, as weir serve MODULE.wasm does.
func (l *loader) loadModule(root, n *config.Node) {
	m := config.Module{Path: n.Scalar.(string), Capabilities: runtime.CapabilityDefault.Names()}
	if list := root.Get("capabilities"); list != nil && list.Kind == config.ListNode {
		m.Capabilities = nil
		for _, c := range list.Items {
			if name, ok := c.Scalar.(string); ok {
				m.Capabilities = append(m.Capabilities, name)
			}
		}
	}
	wasm := l.open(n, "module", true)
	name := moduleName(m.Path)
	module, err := m.Host(name, wasm)
	if err != nil {
		l.at(n, "module", "%v", err)
	}
	if settings := root.Get("module_config"); settings != nil {
		if module.Config, err = toJSON(settings); err != nil {
			l.at(settings, "module_config", "%v", err)
		}
	}
	l.file.modules, l.file.alone = []host.Module{module}, true
	l.file.options = host.Options{Routes: []host.Route{{Path: "/{path...}", Module: name}}}
}

var notInNames = regexp.MustCompile(`[^a-z0-9._-]+`)

// moduleName makes a module's name from its file's.
func moduleName(file string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(file)), ".wasm")
	name = strings.TrimLeft(notInNames.ReplaceAllString(name, "-"), "._-")
	if name == "" {
		return "module"
	}
	return name[:min(len(name), 64)]
}

// loadConfig takes modules, routes and limits from a configuration. Environment
// and command line have no say: a scenario is the same everywhere.
func (l *loader) loadConfig(n *config.Node) {
	path := l.beside(n.Scalar.(string))
	if l.open(n, "config", false) == nil {
		return
	}
	c, err := config.Load(config.Source{Files: []string{path}, ReadFile: func(string) ([]byte, error) { return l.bytesOf[path], nil }})
	if err != nil {
		l.others = append(l.others, err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Modules)) {
		m := c.Modules[name]
		wasm := l.openModule(n, name, m.Path)
		module, err := m.Host(name, wasm)
		if err != nil {
			l.others = append(l.others, err)
			continue
		}
		l.file.modules = append(l.file.modules, module)
	}
	l.file.options = c.Options
	// There is no HTTP but upgrades here, and no folder of files.
	l.file.options.Routes = nil
	for _, r := range c.Routes {
		if r.Static = ""; r.Module != "" {
			l.file.options.Routes = append(l.file.options.Routes, r)
		}
	}
	if len(l.file.options.Routes) == 0 {
		l.at(n, "config", "no route of %s leads to a module", path)
	}
}

// openModule reads a module's file that the configuration names.
func (l *loader) openModule(n *config.Node, name, path string) []byte {
	p, err := l.read(path)
	switch {
	case err == nil:
		l.file.Sources = append(l.file.Sources, path)
	case errors.Is(err, fs.ErrNotExist):
		l.others = append(l.others, fmt.Errorf("%s: modules.%s.path: %w", l.beside(n.Scalar.(string)), name, &MissingError{Path: path}))
	default:
		l.at(n, "config", "modules.%s.path: %s: %v", name, path, reason(err))
	}
	return p
}
