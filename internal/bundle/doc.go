// Package bundle makes one script of a handler in TypeScript or JavaScript and all that it imports, and puts it into a
// copy of the engine that runs it: a module in one file.
//
// Types are taken away, not checked. The module "weir" comes from the SDK that the caller hands in, whatever else may lie
// beside the handler. The package reads the files that a handler imports, runs no program, and writes nothing. Its
// functions may be called from any goroutine.
package bundle
