// Gen turns guest-sdk/abi.toml, the one description of the border between weir and its guests, into the files that
// must agree on it: the host's table, the bindings of every SDK, and the tables of ABI.md.
//
//	go run ./guest-sdk/gen          write the files
//	go run ./guest-sdk/gen -check   write nothing; say which files have drifted, and exit with 1
//
// It runs from anywhere inside the repository. It reads and writes files only: it never imports what it generates.
package main
