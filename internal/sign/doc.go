// Package sign puts signatures into WebAssembly modules and checks them.
//
// A signature is an Ed25519 signature (RFC 8032) as wasmsign2 (https://github.com/wasm-signatures/wasmsign2) writes it: a
// custom section named "signature", the first of the module, whose hashes cover every byte behind it. That is the format
// of the WebAssembly tool conventions, but that every part of a list has its length before it. Only signatures of the
// whole module count; one by one key is enough. Sign also adds a custom section of its own, "weir_version", which the
// signature covers, so that a server can tell an old module that was signed once from the new one.
//
// The package does no I/O and keeps no state: any goroutine may call it. What it allocates is proportional to the length
// of the module, never to a number in it.
package sign
