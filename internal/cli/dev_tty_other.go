//go:build !linux && !darwin

package cli

import "io"

// eachKey does nothing here: keys come with the Enter after them.
func eachKey(io.Reader) (restore func(), single bool) { return func() {}, false }
