package wasm

import "fmt"

// Problem is one reason why a module is not acceptable.
type Problem struct {
	Section  string // where, such as "code"; "" if it concerns the file as a whole
	Offset   int    // from the start of the file, in bytes
	Function string // the function that it is in, such as `17 "main"`; "" outside of function bodies
	Message  string // what is wrong
}

// String puts place and message into one line.
func (p Problem) String() string {
	where := "file"
	if p.Section != "" {
		where = p.Section + " section"
	}
	if p.Function != "" {
		return fmt.Sprintf("%s, byte %d (function %s): %s", where, p.Offset, p.Function, p.Message)
	}
	return fmt.Sprintf("%s, byte %d: %s", where, p.Offset, p.Message)
}

// maxProblems is how many problems are reported. The rest is only counted.
const maxProblems = 32

// problems gathers what is wrong with one file.
type problems struct {
	list      []Problem
	functions []int // for each of list: the function that it is in, or -1
	more      int   // that were not kept
}

func (p *problems) add(section string, offset, function int, format string, args ...any) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, Problem{Section: section, Offset: offset, Message: fmt.Sprintf(format, args...)})
	p.functions = append(p.functions, function)
}

// done returns the report. Names of functions are known only at the end, since their section is the last.
func (p *problems) done(nameOf func(function int) string) []Problem {
	for i, function := range p.functions {
		if function < 0 {
			continue
		}
		p.list[i].Function = fmt.Sprint(function)
		if name := nameOf(function); name != "" {
			p.list[i].Function = fmt.Sprintf("%d %q", function, name)
		}
	}
	if p.more > 0 {
		last := p.list[len(p.list)-1]
		p.list = append(p.list, Problem{
			Section: last.Section, Offset: last.Offset, Message: fmt.Sprintf("and %d more problems", p.more),
		})
	}
	return p.list
}
