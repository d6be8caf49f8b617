// Package scenario reads files that play clients against a handler, and plays
// them in virtual time.
//
// The grammar is one table (grammar.go): the loader checks files against it and
// the JSON Schema for editors is made from it. What a file means is decided when
// it is loaded; a [File] that loads can be played, and its steps hold values,
// not text.
//
// Each scenario has a world of its own (internal/sim): a server, its network and
// its time, on one goroutine and decided by one seed. Files may be played side by
// side on one [Engine], which compiles each module once.
//
// This package never waits and reads no real clock but to say how long a
// scenario took. It never lets a file decide what is read outside of what the
// file names, and writes nothing.
package scenario
