package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClockSched is CPUCLOCK_SCHED of <linux/posix-timers.h>: scheduler time in
// nanoseconds, as opposed to ticks.
const cpuClockSched = 2

// ticksPerSecond is USER_HZ, in which /proc/PID/stat counts; 100 on every
// architecture that Go runs on.
const ticksPerSecond = 100

// CPUTime returns the CPU time that the process has used since it started, user
// and system, all threads, dead ones too. It reads the clock that
// clock_getcpuclockid(3) names, so it is exact to the call even for a thread
// that is running now.
func CPUTime(pid int) (time.Duration, error) {
	const pidBits = 22 // of PID_MAX_LIMIT; beyond, the id would name another clock
	if pid <= 0 || pid > 1<<pidBits {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	var ts unix.Timespec
	id := int32(^pid)<<3 | cpuClockSched
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// SchedCPU returns the sum of the run times in /proc/PID/task/*/schedstat. It
// lacks threads that have ended and up to one tick of each running one.
func SchedCPU(pid int) (time.Duration, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	if len(paths) == 0 {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	var sum time.Duration
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread ended since the listing
		}
		if err != nil {
			return 0, err
		}
		s, err := ParseSchedstat(text)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += s.Run
	}
	return sum, nil
}

// Schedstat is one line of /proc/PID/schedstat.
type Schedstat struct {
	Run    time.Duration // on a CPU
	Wait   time.Duration // runnable, waiting for a CPU
	Slices uint64        // times it was given a CPU
}

// ParseSchedstat reads the text of a schedstat file: three decimal numbers.
func ParseSchedstat(text []byte) (Schedstat, error) {
	f := bytes.Fields(text)
	if len(f) != 3 {
		return Schedstat{}, fmt.Errorf("proc: schedstat has %d fields, want 3", len(f))
	}
	run, err1 := strconv.ParseInt(string(f[0]), 10, 64)
	wait, err2 := strconv.ParseInt(string(f[1]), 10, 64)
	slices, err3 := strconv.ParseUint(string(f[2]), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Schedstat{}, fmt.Errorf("proc: schedstat: %w", err)
	}
	return Schedstat{Run: time.Duration(run), Wait: time.Duration(wait), Slices: slices}, nil
}

// Stat is what /proc/PID/stat says about CPU time and threads.
type Stat struct {
	User    time.Duration // in steps of 10 ms
	System  time.Duration // in steps of 10 ms
	Threads int
}

// ReadStat reads /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(text)
}

// ParseStat reads the text of /proc/PID/stat. The command in its second field
// may hold blanks and parentheses, so fields are counted from the last one.
func ParseStat(text []byte) (Stat, error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return Stat{}, errors.New("proc: stat has no command")
	}
	// proc_pid_stat(5) numbers from 1 and the first field here is number 3.
	const state, utime, stime, threads = 3, 14, 15, 20
	f := bytes.Fields(text[end+1:])
	if len(f) <= threads-state {
		return Stat{}, fmt.Errorf("proc: stat has %d fields after the command", len(f))
	}
	u, err1 := strconv.ParseInt(string(f[utime-state]), 10, 64)
	s, err2 := strconv.ParseInt(string(f[stime-state]), 10, 64)
	n, err3 := strconv.Atoi(string(f[threads-state]))
	if err := errors.Join(err1, err2, err3); err != nil {
		return Stat{}, fmt.Errorf("proc: stat: %w", err)
	}
	const tick = time.Second / ticksPerSecond
	return Stat{User: time.Duration(u) * tick, System: time.Duration(s) * tick, Threads: n}, nil
}

// RSS returns the resident memory of the process in bytes, from
// /proc/PID/smaps_rollup, which walks the page table and is exact. (statm's
// figure comes from per-CPU counters and may be off by megabytes.)
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return ParseSmapsRollup(text)
}

// ParseSmapsRollup returns the Rss line of the text of a smaps_rollup file, in
// bytes.
func ParseSmapsRollup(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("Rss:"))
		if !ok {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) != 2 || string(f[1]) != "kB" {
			return 0, fmt.Errorf("proc: smaps_rollup: bad line %q", bytes.TrimSpace(line))
		}
		kib, err := strconv.ParseInt(string(f[0]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("proc: smaps_rollup: %w", err)
		}
		return kib << 10, nil
	}
	return 0, errors.New("proc: smaps_rollup has no Rss line")
}

// Switches counts how often the threads of a process gave up the CPU.
type Switches struct {
	Voluntary   uint64 // it had to wait
	Involuntary uint64 // somebody else was due
}

// ReadSwitches sums /proc/PID/task/*/status over the living threads.
func ReadSwitches(pid int) (Switches, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return Switches{}, err
	}
	if len(paths) == 0 {
		return Switches{}, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	var sum Switches
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread ended since the listing
		}
		if err != nil {
			return Switches{}, err
		}
		s, err := ParseSwitches(text)
		if err != nil {
			return Switches{}, fmt.Errorf("%s: %w", path, err)
		}
		sum.Voluntary += s.Voluntary
		sum.Involuntary += s.Involuntary
	}
	return sum, nil
}

// ParseSwitches reads the two counters in the text of a status file.
func ParseSwitches(text []byte) (Switches, error) {
	var s Switches
	found := 0
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		var to *uint64
		switch string(name) {
		case "voluntary_ctxt_switches":
			to = &s.Voluntary
		case "nonvoluntary_ctxt_switches":
			to = &s.Involuntary
		default:
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
		if err != nil {
			return Switches{}, fmt.Errorf("proc: status: %w", err)
		}
		*to = n
		found++
	}
	if found != 2 {
		return Switches{}, errors.New("proc: status lacks the context switch counters")
	}
	return s, nil
}

// BusyTime returns how long all CPUs together have not been idle since boot, in
// steps of 10 ms, from /proc/stat.
func BusyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return ParseBusyTime(text)
}

// ParseBusyTime reads the text of /proc/stat: user, nice, system, irq and
// softirq; not idle, iowait and steal, nor guest, which user holds already.
func ParseBusyTime(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 8 || string(f[0]) != "cpu" {
		return 0, fmt.Errorf("proc: stat starts with %q", line)
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("proc: stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// CPUModel returns the name of the first CPU, or "unknown CPU".
func CPUModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	return ParseCPUModel(text)
}

// ParseCPUModel reads the text of /proc/cpuinfo.
func ParseCPUModel(text []byte) string {
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "unknown CPU"
}
