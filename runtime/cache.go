package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"
)

const (
	// noCache is the CacheDir that means memory only.
	noCache = "none"

	// A folder of compiled code that has grown beyond maxCacheBytes is cut down to half of that when it is opened, the
	// oldest files first: each version of a module that was ever loaded is there.
	maxCacheBytes = 512 << 20

	// staleTemp is the age from which a file that was never finished is litter.
	staleTemp = time.Hour
)

// prepareCache makes or checks a folder for compiled code. wazero maps its files as code behind a checksum only.
func prepareCache(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if others := info.Mode().Perm() & 0o022; others != 0 && goruntime.GOOS != "windows" {
		return fmt.Errorf("%s has mode %04o: others could replace the code that runs; chmod 0700 it", dir, info.Mode().Perm())
	}
	return pruneCache(dir, maxCacheBytes, time.Now())
}

// pruneCache removes what a folder has too much. Another process may be at work there: what vanishes meanwhile is no
// error, and what is removed under it is only compiled again.
func pruneCache(dir string, maxBytes int64, now time.Time) error {
	type file struct {
		path  string
		bytes int64
		at    time.Time
	}
	var files []file
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if filepath.Ext(path) == ".tmp" && now.Sub(info.ModTime()) > staleTemp {
			return ignoreMissing(os.Remove(path))
		}
		files = append(files, file{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil || total <= maxBytes {
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return a.at.Compare(b.at) })
	for _, f := range files {
		if total <= maxBytes/2 {
			break
		}
		if err := ignoreMissing(os.Remove(f.path)); err != nil {
			return err
		}
		total -= f.bytes
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
