// Weir is a WebSocket server that is programmed in WebAssembly; see README.md.
package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"syscall"

	"weir/internal/cli"
)

func main() {
	if code, jailed := cli.Jail(os.Args, os.Environ(), os.Stdin, os.Stdout); jailed {
		os.Exit(code)
	}
	signals := make(chan os.Signal, 2) // the second one must not be lost while the first is being served
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	hangups := make(chan os.Signal, 1) // one that waits is as good as two
	signal.Notify(hangups, syscall.SIGHUP)
	environ := os.Environ()
	for _, name := range cli.OfSupervisor() { // for this process, not for its children
		os.Unsetenv(name)
	}
	cacheDir, _ := os.UserCacheDir() // an error means that there is none
	os.Exit(cli.Run(context.Background(), cli.Env{
		Args:           os.Args[1:],
		Stdin:          os.Stdin,
		Stdout:         os.Stdout,
		Stderr:         os.Stderr,
		Environ:        environ,
		Pid:            os.Getpid(),
		Terminal:       isTerminal(os.Stderr),
		StdoutTerminal: isTerminal(os.Stdout),
		Signals:        signals,
		Hangups:        hangups,
		StdinTerminal:  isTerminal(os.Stdin),
		ReadFile:       os.ReadFile,
		ReadDir:        os.ReadDir,
		MkdirAll:       os.MkdirAll,
		WriteFile:      os.WriteFile,
		Rename:         os.Rename,
		Remove:         os.Remove,
		CacheDir:       cacheDir,
		LookPath:       exec.LookPath,
		Exec:           (*exec.Cmd).Run,
		Browse:         browse,
	}))
}

// isTerminal takes any character device for a terminal; that /dev/null is one
// too harms nobody.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// browse opens a page with the desktop's own command, and leaves it running.
func browse(url string) error {
	var cmd *exec.Cmd
	switch goruntime.GOOS {
	case "darwin":
		cmd = exec.Command("open", url)
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	default:
		cmd = exec.Command("xdg-open", url)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
