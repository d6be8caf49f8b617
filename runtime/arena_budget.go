package runtime

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// defaultBudgetPercent of the memory that the process may use is for its guests; the rest is for connections, code
	// and the garbage collector's slack.
	defaultBudgetPercent = 40

	// unknownMemoryBytes is taken for the machine's memory where it cannot be read.
	unknownMemoryBytes = 2 << 30
)

// DefaultGuestBudgetBytes returns the bytes that guests may have unless the operator says otherwise: 40 % of MemoryLimit.
// Guest memory lies outside Go's heap, so GOMEMLIMIT does not bound it; it is taken for what the operator wants the
// process to use.
func DefaultGuestBudgetBytes() int64 { return MemoryLimit() / 100 * defaultBudgetPercent }

// MemoryLimit returns how many bytes the process may use: the least of the machine's memory, the limits of the control
// groups that it is in, and GOMEMLIMIT; 2 GiB where none of them can be read.
func MemoryLimit() int64 { return memoryLimit(os.DirFS("/"), debug.SetMemoryLimit(-1)) }

// memoryLimit returns how many bytes the process may use as far as the files of Linux below root and goLimit tell.
// goLimit is math.MaxInt64 if there is none.
func memoryLimit(root fs.FS, goLimit int64) int64 {
	limit := min(machineMemory(root), cgroupLimit(root), goLimit)
	if limit == math.MaxInt64 {
		return unknownMemoryBytes
	}
	return limit
}

// regionLimit returns how many regions there may be. Linux bounds the mappings of a process (vm.max_map_count, by
// default 65,530), a region is two of them, and Go ends the process when it gets none: a quarter is left to others.
func regionLimit(root fs.FS) int64 {
	mappings := limitIn(root, "proc/sys/vm/max_map_count")
	if mappings == math.MaxInt64 {
		mappings = 65_530
	}
	return mappings / 4 * 3 / 2
}

// machineMemory returns MemTotal of proc/meminfo (proc_meminfo(5)), or math.MaxInt64.
func machineMemory(root fs.FS) int64 {
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			if kB, err := strconv.ParseInt(fields[1], 10, 64); err == nil && kB > 0 && kB < math.MaxInt64>>10 {
				return kB << 10
			}
		}
	}
	return math.MaxInt64
}

// cgroupLimit returns the least limit of the control groups named in proc/self/cgroup and of those above them, in
// either version (cgroups(7)), or math.MaxInt64. Inside a container the file may name groups as the machine calls
// them, of which only the root can be seen: that is the container's own.
func cgroupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		if len(fields) != 3 {
			continue
		}
		var top, file string
		switch {
		case fields[0] == "0" && fields[1] == "":
			top, file = "sys/fs/cgroup", "memory.max"
		case hasMemory(fields[1]):
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			limit = min(limit, limitIn(root, path.Join(top, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limit
}

func hasMemory(controllers string) bool {
	for c := range strings.SplitSeq(controllers, ",") {
		if c == "memory" {
			return true
		}
	}
	return false
}

// limitIn returns the number of bytes in a file, or math.MaxInt64 if there is none ("max", or no file).
func limitIn(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}
