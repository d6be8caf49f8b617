package runtime

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestAProgramWithoutJailMainHasNoJail(t *testing.T) {
	jailReady.Store(false)
	defer jailReady.Store(true) // by TestMain
	if j, err := newJail(); j != nil || !errors.Is(err, errNoJail) || !strings.Contains(err.Error(), "JailMain") {
		t.Errorf("got %v, %v", j, err)
	}
}

func TestOnlyAServerStartsTheJail(t *testing.T) {
	args := []string{"weir", jailArg, "1073741824", "10"}
	for name, c := range map[string]struct{ args, environ []string }{
		"without the mark in the environment": {args, []string{"PATH=/bin"}},
		"with another mark":                   {args, []string{jailMarker + "0"}},
		"without arguments":                   {args[:1], []string{jailMarker}},
		"with too few arguments":              {args[:3], []string{jailMarker}},
		"with too many arguments":             {append(slices.Clone(args), "x"), []string{jailMarker}},
		"with another verb":                   {[]string{"weir", "serve", "1073741824", "10"}, []string{jailMarker}},
	} {
		t.Run(name, func(t *testing.T) {
			if code, handled := JailMain(c.args, c.environ, nil, nil); code != 0 || handled {
				t.Errorf("got %d, %v", code, handled)
			}
		})
	}
}

func TestARequestArrivesAsItWasSent(t *testing.T) {
	wasm := guest(t, "echo")
	spec := jailSpec{MemoryPages: 7, Interpreter: true, CacheDir: "/var/cache/ä b"}
	request, err := jailRequest(wasm, spec)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := io.ReadAll(request)
	if err != nil {
		t.Fatal(err)
	}
	got, gotSpec, err := readRequest(bytes.NewReader(sent))
	if err != nil || !bytes.Equal(got, wasm) || gotSpec != spec {
		t.Errorf("got %d bytes, %+v, %v", len(got), gotSpec, err)
	}
	for n := range sent {
		if _, _, err := readRequest(bytes.NewReader(sent[:n])); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a request", n, len(sent))
		}
	}
}

func TestABadRequestIsNamed(t *testing.T) {
	framed := func(head string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	}
	for name, c := range map[string]struct {
		request []byte
		want    string
	}{
		"nothing":             {nil, "read request: EOF"},
		"a head too long":     {[]byte{0, 1, 0, 1}, "its head has 65537 bytes; at most 65536 are allowed"},
		"no JSON":             {framed("module"), "invalid character 'm'"},
		"a module too large":  {framed(`{"bytes":1073741825}`), "a module of 1073741825 bytes"},
		"a negative size":     {framed(`{"bytes":-1}`), "a module of -1 bytes"},
		"a module that lacks": {framed(`{"bytes":9}`), "read request: module: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := readRequest(bytes.NewReader(c.request)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := jailRequest(nil, jailSpec{CacheDir: strings.Repeat("x", maxRequestBytes)}); err == nil {
		t.Error("a request that no child would read is sent")
	}
}

func TestTheLastWordsOfACompilerBecomeAReason(t *testing.T) {
	for crash, want := range map[string]string{
		"": "",
		"runtime: cannot do it\nfatal error: stack overflow\n": "fatal error: stack overflow",
		"panic: oops\x1b[2J\n\ngoroutine 1 [running]:\n":       "panic: oops\uFFFD[2J",
		"Illegal\x00 instruction\nmore\n":                      "Illegal\uFFFD instruction",
	} {
		if got := firstLine(crash); got != want {
			t.Errorf("%q: got %q, want %q", crash, got, want)
		}
	}
	for limitBytes, want := range map[uint64]string{1 << 30: "out of memory (1 GiB)", 192 << 20: "out of memory (192 MiB)"} {
		if got := memoryRefusal(limitBytes); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzJailAnswer: no answer makes the parent panic, and only the one about this module passes.
func FuzzJailAnswer(f *testing.F) {
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	good, err := json.Marshal(jailAnswer{Digest: digestText(wasm)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, said []byte) {
		err := readAnswer(said, wasm)
		if err == nil {
			var a jailAnswer
			if bad := json.Unmarshal(said, &a); bad != nil || a != (jailAnswer{Digest: digestText(wasm)}) {
				t.Errorf("%q passes", said)
			}
		}
		if err != nil && len(err.Error()) > 4*maxMessageBytes {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// FuzzJailRequest: what is taken for a request means the same when it is sent again.
func FuzzJailRequest(f *testing.F) {
	request, err := jailRequest([]byte("\x00asm"), jailSpec{MemoryPages: 1, CacheDir: "/tmp"})
	if err != nil {
		f.Fatal(err)
	}
	seed, err := io.ReadAll(request)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, sent []byte) {
		wasm, spec, err := readRequest(bytes.NewReader(sent))
		if err != nil {
			return
		}
		request, err := jailRequest(wasm, spec)
		if err != nil {
			return // its head has grown: JSON escapes
		}
		again, specAgain, err := readRequest(request)
		if err != nil || !bytes.Equal(again, wasm) || specAgain != spec {
			t.Errorf("got %q, %+v, %v, want %q, %+v", again, specAgain, err, wasm, spec)
		}
	})
}
