// Package cli is the command line: one file a verb, the exit codes, and the
// order in which a server's parts are built and taken down.
//
// Nothing here reads the process's arguments, environment or streams: Env hands
// them in, so that a test runs a whole command in its own process. What a
// command has to say goes to standard output when it is data and to standard
// error when it is for people.
package cli
