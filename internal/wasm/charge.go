package wasm

// chargeImports makes a function for each import that costs fuel, which pays and calls it. From then on whatever refers
// to the import, also through a table, means that function: a host function may work for long on behalf of a few
// instructions.
func (r *rewriter) chargeImports(fuel func(module, name string) int64) {
	if fuel == nil {
		return
	}
	for i, imported := range r.m.imports {
		cost := fuel(imported.Module, imported.Name)
		if cost <= 0 {
			continue
		}
		w := &codeWriter{r: r}
		w.spend(cost)
		for p := range imported.Type.Params {
			w.op(opLocalGet, uint32(p))
		}
		w.op(opCall, uint32(i))
		w.op(opEnd)
		if r.charged == nil {
			r.charged = map[uint32]uint32{}
		}
		r.charged[uint32(i)] = r.addFunction(imported.Name, body{code: w.code}, imported.Type)
	}
}
