package main

import (
	"fmt"
	"strings"
)

// renderEngine writes bindings.h of the JavaScript engine: the host functions as functions of QuickJS. They look like those
// of the fake host in testing/host.mjs: what the host writes into a buffer is returned, a string or bytes, or else a
// negative status.
func renderEngine(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("// The host functions of ABI %d for scripts. engine.c includes this file, and has its helpers.\n", t.Version)
	for _, f := range t.Functions {
		bindFunction(&w, f)
	}
	w.line("static const JSCFunctionListEntry bindings[] = {")
	for _, f := range t.Functions {
		arguments := 0
		for _, p := range f.Params {
			if p.Type != "out" {
				arguments++
			}
		}
		w.line("    JS_CFUNC_DEF(%q, %d, js_%s),", local(f.Name), arguments, f.Name)
	}
	w.line("};")
	return w.Bytes(), nil
}

func bindFunction(w *writer, f function) {
	w.line("static JSValue js_%s(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {", f.Name)
	var (
		args, given []string
		result      string // the type of what is written into a buffer; empty: nothing is
	)
	for i, p := range f.Params {
		at := fmt.Sprintf("argv[%d]", i)
		switch p.Type {
		case "i32":
			w.line("    int32_t %s;", p.Name)
			w.line("    if (JS_ToInt32(ctx, &%s, %s)) return JS_EXCEPTION;", p.Name, at)
			args = append(args, p.Name)
		case "i64", "conn":
			w.line("    int64_t %s;", p.Name)
			w.line("    if (JS_ToInt64Ext(ctx, &%s, %s)) return JS_EXCEPTION;", p.Name, at)
			args = append(args, p.Name)
		case "bytes":
			given = append(given, p.Name)
			args = append(args, p.Name+".data", p.Name+".size")
		case "out":
			result = "text"
			if f.Name == "conn_state_get" {
				result = "bytes" // what the guest stored may be anything
			}
			args = append(args, "scratch.data", "scratch.size")
		case "fill":
			w.line("    uint32_t size;")
			w.line("    if (JS_ToUint32(ctx, &size, %s)) return JS_EXCEPTION;", at)
			w.line("    if (size > MAX_FILL) return JS_NewInt32(ctx, WEIR_TOO_BIG);")
			w.line("    if (!reserve(size)) return JS_ThrowOutOfMemory(ctx);")
			result = "filled"
			args = append(args, "scratch.data", "size")
		}
	}
	free := func(names []string) string {
		var s strings.Builder
		for i := len(names) - 1; i >= 0; i-- {
			fmt.Fprintf(&s, "release(ctx, &%s); ", names[i])
		}
		return s.String()
	}
	for n, name := range given {
		index := 0
		for f.Params[index].Name != name {
			index++
		}
		w.line("    struct lent %s;", name)
		w.line("    if (!lend(ctx, &%s, argv[%d])) { %sreturn JS_EXCEPTION; }", name, index, free(given[:n]))
	}
	call := fmt.Sprintf("weir_%s(%s)", f.Name, strings.Join(args, ", "))
	switch {
	case result == "filled":
		w.line("    int32_t status = %s;", call)
		w.line("    return status < 0 ? JS_NewInt32(ctx, status) : new_bytes(ctx, scratch.data, size);")
	case result != "":
		w.line("    int32_t length = %s;", call)
		w.line("    if (length > (int32_t)scratch.size && reserve(length)) length = %s;", call)
		if len(given) > 0 {
			w.line("    %s", strings.TrimSpace(free(given)))
		}
		w.line("    return result_%s(ctx, length);", result)
	default:
		kind, make := "int32_t", "JS_NewInt32"
		if wasmTypes[f.Result] == "l" {
			kind, make = "int64_t", "JS_NewInt64"
		}
		w.line("    %s result = %s;", kind, call)
		if len(given) > 0 {
			w.line("    %s", strings.TrimSpace(free(given)))
		}
		w.line("    return %s(ctx, result);", make)
	}
	w.line("}\n")
}
