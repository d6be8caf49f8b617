package wasm

import "math"

// stackPlan is what is known about a module's calls before it runs: which functions may recurse and what they take of
// the stack, and which are so small that their callers pay for them.
type stackPlan struct {
	m       *Module
	calls   []callSummary // of each defined function
	charge  []int         // stack that a recursive function counts when it is entered, in bytes; 0 if it does not count
	most    int           // stack that functions need which do not count, in bytes
	deepest int           // the function that begins the path that needs most
}

// callSummary is what matters about a function's code for its callers.
type callSummary struct {
	callees  []uint32 // defined functions, once for each call
	indirect []uint32 // types that it calls through tables
	loops    bool
	lengths  bool // has instructions that pay by length
	taken    bool // may be called through a table
	cost     int  // in eighths of fuel
	frame    int  // stack, in bytes
	free     bool // its callers pay for it
}

// maxFreeCost is what a function may cost, in eighths of fuel, for its callers to pay for it.
const maxFreeCost = 128

func newStackPlan(m *Module) *stackPlan {
	p := &stackPlan{m: m, calls: make([]callSummary, len(m.bodies)), charge: make([]int, len(m.bodies))}
	p.summarize()
	g := p.graph()
	path := make([]int, len(g.edges))      // stack from a node on until functions that count, in bytes
	g.components(func(component []int32) { // callees come before callers
		p.component(g, component, path)
	})
	return p
}

// defined returns which of the module's own functions has an index.
func (p *stackPlan) defined(function uint32) (i uint32, ok bool) {
	imported := uint32(len(p.m.imports))
	return function - imported, function >= imported
}

// summarize walks all code.
func (p *stackPlan) summarize() {
	take := func(c constant) {
		if i, ok := p.defined(c.arg); ok && c.op == opRefFunc {
			p.calls[i].taken = true
		}
	}
	for i := range p.m.globals {
		take(p.m.globals[i].init)
	}
	for i := range p.m.elements {
		for _, c := range p.m.elements[i].entries {
			take(c)
		}
	}
	d := decoder{most: math.MaxInt32}
	var size frameSize
	var in, before instruction
	for i := range p.m.bodies {
		b, s := &p.m.bodies[i], &p.calls[i]
		d.code, d.pos = b.code, 0
		size.reset(b.localCount(p.m.FunctionType(len(p.m.imports) + i)))
		for before = (instruction{}); d.pos < len(d.code); before = in {
			if err := d.next(&in); err != nil {
				panic("wasm: code changed since it was read: " + err.Error())
			}
			s.cost += p.cost(&in, &before)
			size.add(p.m, &in)
			switch in.op {
			case opLoop:
				s.loops = true
			case opCall:
				if callee, ok := p.defined(in.x); ok {
					s.callees = append(s.callees, callee)
				}
			case opCallIndirect:
				s.indirect = append(s.indirect, in.x)
			case opRefFunc:
				take(constant{op: opRefFunc, arg: in.x})
			default:
				s.lengths = s.lengths || in.op.hasLength() && !constantLength(&in, &before)
			}
		}
		s.frame = size.bytes(p.m.FunctionType(len(p.m.imports) + i))
	}
}

// cost returns what an instruction costs, in eighths of fuel. before is the one right before it.
func (p *stackPlan) cost(in, before *instruction) int {
	cost := int(opcodes[in.op].cost)
	switch in.op {
	case opCall:
		if callee, ok := p.defined(in.x); ok && p.calls[callee].free {
			cost += p.calls[callee].cost
		}
	case opMemoryInit, opMemoryCopy, opMemoryFill:
		if constantLength(in, before) {
			cost += int(before.num) * costPerFuel / bytesPerFuel
		}
	case opTableInit, opTableCopy, opTableGrow, opTableFill:
		if constantLength(in, before) {
			cost += int(before.num) * costPerFuel / entriesPerFuel
		}
	}
	return cost
}

// callGraph has a node for each defined function, and behind those one for each type that is called through tables.
type callGraph struct {
	edges [][]uint32
}

func (p *stackPlan) graph() *callGraph {
	n := len(p.calls)
	g := &callGraph{edges: make([][]uint32, n)}
	nodes := map[string]uint32{} // by type: equal types are one
	node := func(typeIndex uint32) uint32 {
		key := string(appendTypes(appendTypes(nil, p.m.types[typeIndex].Params), p.m.types[typeIndex].Results))
		i, ok := nodes[key]
		if !ok {
			i = uint32(len(g.edges))
			nodes[key] = i
			g.edges = append(g.edges, nil)
		}
		return i
	}
	byIndex := map[uint32]uint32{}
	for i := range p.calls {
		s := &p.calls[i]
		g.edges[i] = s.callees[:len(s.callees):len(s.callees)]
		for _, t := range s.indirect {
			v, ok := byIndex[t]
			if !ok {
				v = node(t)
				byIndex[t] = v
			}
			g.edges[i] = append(g.edges[i], v)
		}
	}
	for i := range p.calls {
		if p.calls[i].taken {
			t := node(p.m.functions[len(p.m.imports)+i])
			g.edges[t] = append(g.edges[t], uint32(i))
		}
	}
	return g
}

// components calls found for each strongly connected component, after those that it leads to (Tarjan). It does not
// recurse: a stranger decides how long a chain of calls is.
func (g *callGraph) components(found func([]int32)) {
	n := len(g.edges)
	index := make([]int32, n) // order of discovery, from 1; 0 = not yet
	low := make([]int32, n)
	onStack := make([]bool, n)
	next := make([]int32, n) // edge to follow next
	var open, path []int32
	counter := int32(0)
	for root := range n {
		if index[root] != 0 {
			continue
		}
		path = append(path[:0], int32(root))
		for len(path) > 0 {
			v := path[len(path)-1]
			if index[v] == 0 {
				counter++
				index[v], low[v], onStack[v] = counter, counter, true
				open = append(open, v)
			}
			if int(next[v]) < len(g.edges[v]) {
				w := int32(g.edges[v][next[v]])
				next[v]++
				if index[w] == 0 {
					path = append(path, w)
				} else if onStack[w] {
					low[v] = min(low[v], index[w])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1]
				low[up] = min(low[up], low[v])
			}
			if low[v] != index[v] {
				continue
			}
			first := len(open) - 1
			for open[first] != v {
				first--
			}
			for _, w := range open[first:] {
				onStack[w] = false
			}
			found(open[first:])
			open = open[:first]
		}
	}
}

// component decides about functions that call each other, or about one that does not recurse.
func (p *stackPlan) component(g *callGraph, component []int32, path []int) {
	recursive := len(component) > 1
	for _, v := range component {
		for _, w := range g.edges[v] {
			recursive = recursive || int32(w) == v
		}
	}
	// Types come first: what they lead to is decided, or counts and takes nothing here.
	for _, v := range component {
		if int(v) >= len(p.calls) {
			path[v] = g.longest(v, path)
		}
	}
	for _, v := range component {
		if int(v) >= len(p.calls) {
			continue
		}
		below := g.longest(v, path)
		s := &p.calls[v]
		if s.lengths {
			below = max(below, helperFrame)
		}
		need := satAdd(s.frame, below)
		if recursive {
			p.charge[v] = need
			continue
		}
		path[v] = need
		if need > p.most {
			p.most, p.deepest = need, len(p.m.imports)+int(v)
		}
		p.mayBeFree(s)
	}
}

// longest returns the longest path from what a node leads to.
func (g *callGraph) longest(v int32, path []int) int {
	most := 0
	for _, w := range g.edges[v] {
		most = max(most, path[w])
	}
	return most
}

func (p *stackPlan) mayBeFree(s *callSummary) {
	if s.loops || s.lengths || s.taken || len(s.indirect) > 0 {
		return
	}
	total := s.cost
	for _, callee := range s.callees {
		if !p.calls[callee].free {
			return
		}
		total += p.calls[callee].cost
	}
	if total <= maxFreeCost {
		s.free, s.cost = true, total
	}
}

func satAdd(a, b int) int { return min(a+b, 1<<40) }
