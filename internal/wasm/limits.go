package wasm

// Limits bound what a module may declare. Every field is an upper bound, and zero means none at all: start from
// [DefaultLimits]. A module that exceeds one gets a [Problem].
type Limits struct {
	FileBytes int // length of the file

	Types     int // function types
	Params    int // parameters of a function type
	Results   int // results of a function type
	Imports   int
	Functions int // imported and defined
	Exports   int
	Globals   int
	NameBytes int // of an import's or export's name. In the name section, longer names are cut.

	Tables         int
	TableEntries   int // smallest size of one table; Meter also lowers what a table may grow to
	MemoryPages    int // smallest size of the memory, in pages of 64 KiB; how far it may grow is up to the engine
	DataSegments   int
	Elements       int // element segments
	ElementEntries int // of all element segments

	BodyBytes   int // one function's code
	Locals      int // one function's locals, its parameters among them
	Nesting     int // blocks, loops and ifs within each other
	BranchTable int // targets of one br_table

	// Effort estimates what code costs to compile, in units of about 100 ns and 100 bytes. A compiler is not linear in
	// the length of its input: some kilobytes of blocks, loops and variables can keep it busy for minutes.
	FunctionEffort int // one function
	ModuleEffort   int // all functions
}

// DefaultLimits returns the limits that strangers' modules are held to.
func DefaultLimits() Limits {
	return Limits{
		FileBytes: 8 << 20,

		Types:     10_000,
		Params:    255,
		Results:   32,
		Imports:   256,
		Functions: 50_000,
		Exports:   1_000,
		Globals:   10_000,
		NameBytes: 1_024,

		Tables:         4,
		TableEntries:   65_536,
		MemoryPages:    512,
		DataSegments:   100_000, // Go cuts its data into some 40,000
		Elements:       10_000,
		ElementEntries: 100_000,

		BodyBytes:      512 << 10,
		Locals:         4_096,
		Nesting:        1_024,
		BranchTable:    16_384,
		FunctionEffort: 12_000_000, // the largest function of a handler in Go has 400,000
		ModuleEffort:   50_000_000, // a handler in Go has some 13,000,000
	}
}
