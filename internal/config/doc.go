// Package config gathers the Options of every package into one tree and fills
// it from, weakest first: defaults, configuration files, the environment
// (WEIR_*), and what the command line overrides.
//
// A knob lives beside the code that reads it, in that package's Options; here
// is only how it is found, checked for its type, and reported when it is wrong:
// every mistake at once, each with the place where the user wrote it.
//
// The package reads no file, variable or flag by itself; Source hands them in.
// Its functions may be called from any goroutine.
package config
