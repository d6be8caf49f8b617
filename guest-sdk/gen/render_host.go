package main

import "strings"

// renderHost writes the table that the runtime links guests against.
func renderHost(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("package runtime\n")
	w.line("import \"strings\"\n")

	w.line("// abiImportModule is the module that guests import host functions from.")
	w.line("const abiImportModule = %q\n", t.ImportModule)

	w.line("// What a guest exports.")
	w.line("const (")
	for _, e := range t.Exports {
		w.comment("\t", e.Doc)
		w.line("\t%s = %q", exportConst(e.Name), e.Name)
	}
	w.line(")\n")

	w.line("// Event says what a guest is called for.")
	w.line("type Event uint8\n")
	w.line("// The events of ABI %d.", t.Version)
	w.line("const (")
	for _, e := range t.Events {
		w.comment("\t", e.Doc)
		w.line("\tEvent%s Event = %d", exported(e.Name), e.Value)
	}
	w.line(")\n")
	w.line("// String returns the event's name, such as \"open\".")
	w.line("func (e Event) String() string {\n\tswitch e {")
	for _, e := range t.Events {
		w.line("\tcase Event%s:\n\t\treturn %q", exported(e.Name), e.Name)
	}
	w.line("\t}\n\treturn \"unknown event\"\n}\n")

	w.line("// Status is the result of a host function: 0 or positive is success, negative an error.")
	w.line("type Status int32\n")
	w.line("// The statuses of ABI %d.", t.Version)
	w.line("const (")
	for _, s := range t.Statuses {
		w.comment("\t", s.Doc)
		w.line("\tStatus%s Status = %d", statusName(s.Name), s.Value)
	}
	w.line(")\n")
	w.line("// String returns the status in words, such as \"queue full\".")
	w.line("func (s Status) String() string {\n\tswitch s {")
	for _, s := range t.Statuses {
		w.line("\tcase Status%s:\n\t\treturn %q", statusName(s.Name), s.Text)
	}
	w.line("\t}\n\tif s > 0 {\n\t\treturn \"ok\"\n\t}\n\treturn \"unknown status\"\n}\n")

	w.line("// Kinds of messages.")
	w.line("const (")
	for _, k := range t.Kinds {
		w.comment("\t", k.Doc)
		w.line("\tKind%s int32 = %d", exported(k.Name), k.Value)
	}
	w.line(")\n")

	w.line("// Levels of the log function.")
	w.line("const (")
	for _, l := range t.Levels {
		w.comment("\t", l.Doc)
		w.line("\tlevel%s int32 = %d", exported(l.Name), l.Value)
	}
	w.line(")\n")

	w.line("// Capability is a set of groups of host functions that an operator may grant. The functions that belong to none")
	w.line("// are always granted.")
	w.line("type Capability uint8\n")
	w.line("// The groups.")
	w.line("const (")
	for _, c := range t.Capabilities {
		w.comment("\t", c.Doc)
		w.line("\tCapability%s Capability = 1 << %d", exported(c.Name), c.Bit)
	}
	w.line(")\n")
	w.line("// CapabilityDefault is the set that needs no configuration.")
	var defaults []string
	for _, c := range t.Capabilities {
		if c.Default {
			defaults = append(defaults, "Capability"+exported(c.Name))
		}
	}
	w.line("const CapabilityDefault = %s\n", strings.Join(defaults, " | "))
	w.line("// capabilityNames lists the groups in order of their bits.")
	w.line("var capabilityNames = []struct {\n\tname string\n\tbit Capability\n}{")
	for _, c := range t.Capabilities {
		w.line("\t{%q, Capability%s},", c.Name, exported(c.Name))
	}
	w.line("}\n")
	w.WriteString(`// ParseCapability returns the group with the given name; false if there is none.
func ParseCapability(name string) (Capability, bool) {
	for _, c := range capabilityNames {
		if c.name == name {
			return c.bit, true
		}
	}
	return 0, false
}

// Names returns the names of the groups in the set.
func (c Capability) Names() []string {
	var names []string
	for _, group := range capabilityNames {
		if c&group.bit != 0 {
			names = append(names, group.name)
		}
	}
	return names
}

// String returns the names of the groups in the set, separated by commas; empty for the empty set.
func (c Capability) String() string { return strings.Join(c.Names(), ",") }

// hostFunc is one function that guests may import.
type hostFunc struct {
	name            string
	params, results string     // one letter a value: i is i32, l is i64
	capability      Capability // what must be granted; 0 = always granted
	since           int        // minor version of the ABI that brought it
}

`)
	w.line("// hostFuncs is the whole table, in the order of abi.toml.")
	w.line("var hostFuncs = []hostFunc{")
	for _, f := range t.Functions {
		granted := "0"
		if f.Capability != "" {
			granted = "Capability" + exported(f.Capability)
		}
		w.line("\t{%q, %q, %q, %s, %d},", f.Name, f.wasmParams(), wasmTypes[f.Result], granted, f.Since)
	}
	w.line("}")
	return w.gofmt()
}

// exportConst names the constant of an export: weir_event is exportEvent.
func exportConst(name string) string {
	switch name {
	case "weir_abi_1":
		return "exportABI"
	case "_initialize":
		return "exportInitialize"
	}
	const prefix = "weir_"
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		name = name[len(prefix):]
	}
	return "export" + exported(name)
}

// statusName is exported with ok in capitals, as Go programmers expect from net/http.
func statusName(name string) string {
	if name == "ok" {
		return "OK"
	}
	return exported(name)
}
