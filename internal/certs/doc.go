// Package certs says what a server shows of itself in a TLS handshake, and whom
// it lets in: the certificate of a pair of files or of an ACME authority, the
// authorities of clients, the versions of the protocol.
//
// A Store keeps what was loaded last. Files are read when it is opened and when
// it is told to read them again; what cannot be used changes nothing. Handshakes
// that have begun go on with what they began with, and connections that are open
// are never touched. It watches nothing: whoever owns it does.
//
// Store's methods may be called from any goroutine.
package certs
