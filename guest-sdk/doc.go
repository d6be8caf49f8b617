// Package guestsdk holds what a new project starts from: a template for each
// language, and the SDKs themselves, so that one program without a repository
// around it or a network can write a project that builds.
//
// It only embeds; it never writes a file or runs a tool. Its functions may be
// called from any goroutine.
package guestsdk
