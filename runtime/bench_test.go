package runtime

import (
	"context"
	"os"
	"strconv"
	"testing"
)

func BenchmarkCall(b *testing.B) {
	b.Run("nothing", func(b *testing.B) {
		i := only(b, Options{}, "nop", ModuleOptions{})
		h := &quietHost{}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := i.Call(h, EventOpen, 1, 0, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, size := range []int{128, 4 << 10} {
		b.Run("echo "+strconv.Itoa(size)+" B", func(b *testing.B) {
			i := only(b, Options{}, "echo", ModuleOptions{})
			h := &quietHost{}
			message := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				p, err := i.Inbound(size)
				if err != nil {
					b.Fatal(err)
				}
				copy(p, message)
				if _, err := i.Call(h, EventBinary, 1, 0, size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTakeAndGive(b *testing.B) {
	m := load(b, newEngine(b, Options{}), "nop", ModuleOptions{Instances: 4})
	b.ReportAllocs()
	for b.Loop() {
		m.Retain()
		m.Give(m.TryTake())
		m.Release()
	}
}

// BenchmarkInstantiate measures what a discarded instance costs to replace.
func BenchmarkInstantiate(b *testing.B) {
	echo, err := os.ReadFile("../examples/echo-c/echo.wasm")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"nop", guest(b, "nop")},
		{"wasi", guest(b, "wasi")},
		{"examples/echo-c", echo},
		{"stock Go", stockGoGuest(b)},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, err := newEngine(b, Options{}).Load(b.Context(), c.file, ModuleOptions{Name: "guest", Generation: 1, Instances: 1, Deny: true})
			if err != nil {
				b.Fatal(err)
			}
			m.Discard(m.TryTake())
			b.ReportAllocs()
			for b.Loop() {
				m.Discard(take(b, m))
			}
		})
	}
}

// BenchmarkLoad measures a small module from file to first instance, its code compiled before.
func BenchmarkLoad(b *testing.B) {
	e := newEngine(b, Options{})
	kept := load(b, e, "echo", ModuleOptions{})
	wasm := guest(b, "echo")
	b.ReportAllocs()
	for b.Loop() {
		m, err := e.Load(context.Background(), wasm, ModuleOptions{Name: "echo", Generation: 2})
		if err != nil {
			b.Fatal(err)
		}
		m.Retire()
	}
	_ = kept
}
