package config

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryLimitHasADefaultAndAnEnd(t *testing.T) {
	all := Limits()
	for _, l := range all {
		if l.Default == "" || l.Over == "" || strings.Contains(l.Default, "\n") {
			t.Errorf("%+v", l)
		}
		if _, err := Explain(l.Key); err != nil {
			t.Errorf("%s: %v", l.Key, err)
		}
	}
	if len(all) < 30 {
		t.Errorf("only %d limits", len(all))
	}
	// Whatever is named like a limit is one.
	for _, key := range Keys() {
		name := key[strings.LastIndexByte(key, '.')+1:]
		bounds := strings.HasPrefix(name, "max_") || strings.HasSuffix(name, "_budget") || strings.HasSuffix(name, "_budget_bytes") || strings.HasSuffix(name, "_timeout")
		if bounds && name != "max_back_off" && !slices.ContainsFunc(all, func(l Limit) bool { return l.Key == key }) {
			t.Errorf("%s bounds something, and has no tag that says what becomes of who exceeds it (over)", key)
		}
	}
}

func TestLimitsInEffect(t *testing.T) {
	read := func(text string) []Limit {
		r := Read(Source{Files: []string{"weir.yaml"}, ReadFile: files(map[string]string{"weir.yaml": text})})
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		return r.Limits()
	}
	has := func(all []Limit, want Limit) {
		t.Helper()
		if !slices.Contains(all, want) {
			t.Errorf("%+v is not among %+v", want, all)
		}
	}
	all := read("websocket: {max_message_size: 1MiB}\nmodules: {chat: {path: chat.wasm, memory_size: 1MiB}, echo: {path: echo.wasm}}")
	has(all, Limit{"websocket.max_message_size", "1MiB", "64KiB", "close 1009", "weir.yaml:1:13"})
	has(all, Limit{"websocket.max_frame_size", "1MiB", "64KiB", "close 1009", "default"}) // it follows
	has(all, Limit{"server.max_connections_per_ip", "no bound", "no bound", "HTTP 503", "default"})
	has(all, Limit{"modules.chat.memory_size", "1MiB", "32MiB", "memory.grow answers -1", "weir.yaml:2:35"})
	has(all, Limit{"modules.echo.memory_size", "32MiB", "32MiB", "memory.grow answers -1", "default"})
	if slices.ContainsFunc(all, func(l Limit) bool { return strings.Contains(l.Key, "NAME") }) {
		t.Error("modules in general are listed beside those that there are")
	}
	has(read("{}"), Limit{"modules.NAME.memory_size", "32MiB", "32MiB", "memory.grow answers -1", "default"})
}
