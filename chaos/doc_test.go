// Package chaos holds the tests of one promise: no module, hostile or broken, at load, at start or at run, and no peer,
// whatever it sends, stops the process, exceeds its budget, or delays the messages of another module by more than 50 ms.
// docs/faults.md lists what was tried and what came of it; make faults makes it anew.
//
// They see the server as an operator does: the real binary in a process of its own, its exit code, its log, what /proc
// says of it, and clients on real sockets. While hostile modules are provoked, a well-behaved one, the canary, echoes
// hundreds of messages a second, and none of its echoes may be lost or late. What it may not do: import the server's
// packages (what it knows of them it would not have to prove), or wait for anything without a bound.
//
// Time is the real one here. The same canary in a second process, without hostile modules, tells when the machine and
// not the server is slow: then a case is played once more, and if it happens again what the canary had to wait is not
// judged.
//
// # Adding a fault of peers
//
// It is an entry of handshakeFaults or frameFaults (see fault): what it does, and what must come of it. What must hold for
// every one of them, wire.play holds.
//
// # Adding a module
//
// A case is a file in testdata/hostile: NAME.wat, or NAME.bytes for what the text format cannot say (see assemble).
// The leading ;; lines say what it tries; those of the form "key: value" say how it is provoked and what must happen.
// Beside a .wat lies what it compiles to: go test ./chaos -run TestHostileTextsAreCompiled -update
//
//	rows:       T-072 ...         the faults that it stands for
//	wat2wasm:   --enable-threads  flags for the text's compiler
//	grant:      topics timers     capabilities, none by default
//	ungranted:  deny              other functions answer "denied"; else a module that imports one is refused
//	memory:     4MiB              its memory_size
//	alone:      yes               it gets a server of its own (with the canary)
//	provoke:    text              "upgrade" and "open" connect, "text" sends "x" (the default), "close" says goodbye
//	warm:       3000              messages that are answered before the provocation, on the same connection
//	times:      3                 provocations, one after another
//	clients:    1                 clients that do it at once
//	breaker:    opens             some of them must be turned away
//	log:        REGEXP            it must log this
//	never-log:  REGEXP            and never this
//	log-reason: timeout|fuel      a stop that the server must log, when no client of ours is the cause
//	most-lines: 300               lines of the log that it may cause
//
// and one of
//
//	expect: load-refused "REGEXP" ...   the server exits with 2 and names each of these reasons
//	expect: harmless                    it is refused like that, or served: both in good time
//	expect: served "TEXT"               each provocation is answered with TEXT; without TEXT the connection just stays
//	expect: stopped REGEXP              the handler is stopped, the connection gets 1011 (an upgrade 500) and nothing
//	                                    else, and the log names a matching reason; "busy" allows for 1013 (503), too
//	expect: closed 1011|1013            the connection gets one of these codes and nothing else
//	expect: http 403                    the upgrade is answered with that
package chaos
