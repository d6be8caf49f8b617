package runtime

import "strings"

// Fault makes host functions fail, for tests of handlers: it is asked before each call of one, by name, and answers with
// the status that the guest gets instead, or false. It runs on the goroutine of the call.
type Fault func(function string) (Status, bool)

// faulty is a host function that fails when fault says so. Those that cannot fail are never asked about.
func faulty(name, results string, impl hostImpl, fault Fault) hostImpl {
	if fault == nil || neverFails[name] {
		return impl
	}
	return func(c *callContext, s []uint64) {
		if status, fails := fault(name); fails {
			answers(results, status)(c, s)
			return
		}
		impl(c, s)
	}
}

// Faultable lists the host functions that a Fault can make fail, in the order of the ABI's table.
func Faultable() []string {
	var names []string
	for _, f := range hostFuncs {
		if !neverFails[f.name] {
			names = append(names, f.name)
		}
	}
	return names
}

// Errors lists the errors of the ABI under the names that files use for them, such as queue_full.
func Errors() map[string]Status {
	named := make(map[string]Status)
	for s := StatusUnknownConnection; s >= StatusBadPointer; s-- {
		named[strings.ReplaceAll(s.String(), " ", "_")] = s
	}
	return named
}
