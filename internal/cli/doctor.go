package cli

// tool is a program that a language is built with.
type tool struct {
	programs []string // the first that is there is used
	version  []string // arguments that make it print its version
	cure     cures    // how to get it
}

// cures say how to get a tool. Empty ones are not known.
type cures struct{ any, debian, darwin string }

// residentCompiler is a compiler that stays between builds.
type residentCompiler interface{}
