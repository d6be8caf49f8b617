package cli

import (
	"io"

	"weir/runtime"
)

// Jail is called first thing in main, with the whole argument vector. If the process was started by a server to compile
// one module in a jail, handled is true: then that is done, and the process must end with code.
func Jail(args, environ []string, stdin io.Reader, stdout io.Writer) (code int, handled bool) {
	return runtime.JailMain(args, environ, stdin, stdout)
}
