package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Values of ModuleOptions.Record.
const (
	RecordOff    = "off"
	RecordOnTrap = "on_trap"
)

// records reports whether the instances have recorders.
func (o ModuleOptions) records() bool { return o.Record == RecordOnTrap }

// keepTape hands the tape of an instance that has stopped to whoever wants it.
func (m *Module) keepTape(i *Instance, e *TrapError) {
	t := i.rec.trap(e)
	i.rec = nil
	if e.Reason == ReasonKilled {
		return // not the guest's fault
	}
	keep := m.keepTapes
	if keep == nil && m.engine.tapes != nil {
		keep = func(t *Tape) string { return m.engine.tapes.keep(t, m.file) }
	}
	if keep == nil {
		return
	}
	if e.Tape = keep(t); e.Tape == "" {
		m.tapesDropped.Add(1)
	} else {
		m.tapesKept.Add(1)
	}
}

const (
	tapeSuffix   = ".tape"
	moduleSuffix = ".wasm"

	// maxTapes and maxTapeDirBytes bound what a folder of tapes holds, the modules' files not counted: there is at most
	// one for each tape.
	maxTapes        = 32
	maxTapeDirBytes = 256 << 20

	// maxTapeWriters bounds the tapes that wait to be written. More traps at once are usually one trap.
	maxTapeWriters = 2
)

// tapeFolder keeps tapes as files, and beside them the files of the modules that they are of, as DIGEST.wasm. Any
// goroutine may use it.
type tapeFolder struct {
	dir    string
	logger *slog.Logger
	now    func() time.Time

	slots   chan struct{} // one for each writer
	writers sync.WaitGroup
	writing sync.Mutex // one at a time touches the folder

	mu     sync.Mutex
	closed bool
	n      uint64 // of the last tape's name
}

// openTapeFolder makes the folder, or checks the one that there is.
func openTapeFolder(dir string, logger *slog.Logger) (*tapeFolder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &tapeFolder{dir: dir, logger: logger, now: time.Now, slots: make(chan struct{}, maxTapeWriters)}, nil
}

// keep has a tape written, and the module's file if it is not there yet. It returns the name that the tape will have, or
// nothing if others are being written: the tape is dropped then. It does no I/O itself.
func (f *tapeFolder) keep(t *Tape, module []byte) (name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ""
	}
	select {
	case f.slots <- struct{}{}:
	default:
		return ""
	}
	f.n++
	name = filepath.Join(f.dir, fmt.Sprintf("%s-g%d-%s-%d%s",
		safeName(t.Module), t.Generation, f.now().UTC().Format("20060102T150405Z"), f.n, tapeSuffix))
	f.writers.Go(func() { // ends when the files are written; close waits for it
		defer func() { <-f.slots }()
		if err := f.write(name, t, module); err != nil {
			f.logger.Error("tape not written", "module", t.Module, "gen", t.Generation, "tape", name, "err", err)
		}
	})
	return name
}

var notInTapeNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func safeName(module string) string {
	name := notInTapeNames.ReplaceAllString(module, "-")
	return name[:min(len(name), maxNameBytes)]
}

func (f *tapeFolder) write(name string, t *Tape, module []byte) error {
	file, err := t.Encode()
	if err != nil {
		return err
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if err := f.writeFile(name, file); err != nil {
		return err
	}
	moduleFile := filepath.Join(f.dir, t.Digest+moduleSuffix)
	if _, err := os.Stat(moduleFile); errors.Is(err, fs.ErrNotExist) {
		if err := f.writeFile(moduleFile, module); err != nil {
			return err
		}
	}
	return f.prune()
}

// writeFile makes a file that is there as a whole or not at all.
func (f *tapeFolder) writeFile(name string, content []byte) (err error) {
	temp, err := os.CreateTemp(f.dir, ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}

// prune removes the oldest tapes until the rest is within the bounds, then the modules that no tape is of.
func (f *tapeFolder) prune() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	var tapes []fs.FileInfo
	var modules []string
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasSuffix(e.Name(), tapeSuffix):
			tapes = append(tapes, info)
		case digestFile.MatchString(e.Name()):
			modules = append(modules, e.Name())
		}
	}
	slices.SortFunc(tapes, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) }) // the newest first
	var errs []error
	remove := func(name string) { errs = append(errs, os.Remove(filepath.Join(f.dir, name))) }
	used := map[string]bool{}
	total := int64(0)
	for n, info := range tapes {
		if total += info.Size(); n > 0 && (n >= maxTapes || total > maxTapeDirBytes) {
			remove(info.Name())
			continue
		}
		if digest, err := digestOf(filepath.Join(f.dir, info.Name())); err == nil {
			used[digest+moduleSuffix] = true
		}
	}
	for _, name := range modules {
		if !used[name] {
			remove(name)
		}
	}
	return errors.Join(errs...)
}

var digestFile = regexp.MustCompile(`^[0-9a-f]{64}\` + moduleSuffix + `$`)

// digestOf reads of a tape which module it is of.
func digestOf(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	head, err := io.ReadAll(io.LimitReader(file, int64(len(tapeMagic)+sectionHeadBytes+maxHeaderBytes)))
	if err != nil {
		return "", err
	}
	if len(head) < len(tapeMagic) {
		return "", io.ErrUnexpectedEOF
	}
	header, _, err := section(head[len(tapeMagic):], sectionHeader)
	if err != nil {
		return "", err
	}
	var t Tape
	err = t.readHeader(header)
	return t.Digest, err
}

// close keeps no more tapes, and waits until what was kept is written.
func (f *tapeFolder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.writers.Wait()
}
