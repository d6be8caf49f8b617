package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestACacheThatHasGrownLosesItsOldestFiles(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	put := func(name string, bytes int, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, "wazero", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		files, _ := filepath.Glob(filepath.Join(dir, "wazero", "*"))
		for _, f := range files {
			names = append(names, filepath.Base(f))
		}
		return names
	}
	for i := range 5 {
		put(fmt.Sprint(i), 100, time.Duration(i)*time.Minute)
	}
	put("half.tmp", 1, 2*time.Hour)
	put("young.tmp", 0, time.Minute)
	if err := pruneCache(dir, 500, now); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left()); got != "[0 1 2 3 4 young.tmp]" {
		t.Errorf("within the bound it leaves %s", got)
	}
	if err := pruneCache(dir, 499, now); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left()); got != "[0 1 young.tmp]" {
		t.Errorf("beyond it, it leaves %s", got)
	}
}
