package runtime

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// jailNice keeps a compilation from the processors that clients need. On a busy machine it is left about a third of
// one, which is enough for a large module within the jail's time.
const jailNice = 5

// jailProgram returns the running program, even if its file was replaced or removed since.
func jailProgram() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err != nil {
		return "", err
	}
	return self, nil
}

// jailAttr puts the child into a group of its own, out of reach of the terminal's signals, and makes it die with its
// parent.
func jailAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func endSignal(state *os.ProcessState) (string, bool) {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return "", false
	}
	return fmt.Sprintf("%d (%v)", status.Signal(), status.Signal()), true
}

// enterJail closes what this process has inherited and puts it under limits. Files are read and written past package
// os, which would open descriptors of its own.
func enterJail(memoryBytes, cpuSeconds uint64) error {
	if err := closeInherited(); err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	if err := limitSelf("core size", syscall.RLIMIT_CORE, 0, 0); err != nil {
		return err
	}
	// At the soft limit comes a signal, and the process tells its parent why it ends. At the hard one it is killed.
	over := make(chan os.Signal, 1)
	signal.Notify(over, syscall.SIGXCPU)
	go func() { // for as long as the process lives
		<-over
		os.Exit(exitOverCPU)
	}()
	if err := limitSelf("CPU time", syscall.RLIMIT_CPU, cpuSeconds, cpuSeconds+1); err != nil {
		return err
	}
	if jailLimitsMemory {
		// A Go program reserves hundreds of megabytes of addresses that it may never use.
		reserved, err := addressSpaceBytes()
		if err != nil {
			return fmt.Errorf("address space: %w", err)
		}
		if err := limitSelf("address space", syscall.RLIMIT_AS, reserved+memoryBytes, reserved+memoryBytes); err != nil {
			return err
		}
	}
	if err := syscall.Setpriority(syscall.PRIO_PGRP, 0, jailNice); err != nil { // the group: PRIO_PROCESS is one thread
		return fmt.Errorf("set priority: %w", err)
	}
	// When the machine runs out of memory, this process goes first. Where that cannot be said, it is no reason to stop.
	_ = writeProc("/proc/self/oom_score_adj", "1000")
	return nil
}

// limitSelf sets a limit, or keeps a lower one that is there. The hard limit is for good.
func limitSelf(name string, resource int, soft, hard uint64) error {
	var have syscall.Rlimit
	if err := syscall.Getrlimit(resource, &have); err != nil {
		return fmt.Errorf("limit of %s: %w", name, err)
	}
	want := syscall.Rlimit{Cur: min(soft, have.Max), Max: min(hard, have.Max)}
	if err := syscall.Setrlimit(resource, &want); err != nil {
		return fmt.Errorf("limit %s to %d: %w", name, want.Cur, err)
	}
	if err := syscall.Getrlimit(resource, &have); err != nil || have != want {
		return fmt.Errorf("limit %s to %d: it is %d (%v)", name, want.Cur, have.Cur, err)
	}
	return nil
}

// addressSpaceBytes returns what RLIMIT_AS counts.
func addressSpaceBytes() (uint64, error) {
	text, err := readProc("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(text, " ") // in pages, proc(5)
	pages, err := strconv.ParseUint(first, 10, 40)
	return pages * uint64(syscall.Getpagesize()), err
}

// closeInherited closes every descriptor above the streams. Some libraries open theirs without FD_CLOEXEC.
func closeInherited() error {
	dir, err := syscall.Open("/proc/self/fd", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var names []string
	buf := make([]byte, 4096)
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if err != nil {
			_ = syscall.Close(dir)
			return err
		}
		if n == 0 {
			break
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			_ = syscall.Close(fd) // dir is one of them
		}
	}
	return nil
}

func readProc(name string) (string, error) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = syscall.Close(fd) }()
	buf := make([]byte, 4096)
	n, err := syscall.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

func writeProc(name, text string) error {
	fd, err := syscall.Open(name, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	_, err = syscall.Write(fd, []byte(text))
	return err
}
