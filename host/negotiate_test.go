package host

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/httphead"
)

// deflateOn turns compression on, for the lab and the world.
func deflateOn(change ...func(*DeflateOptions)) func(*setup) {
	return func(s *setup) {
		s.opts.WebSocket.Compression = compressionOn
		for _, f := range change {
			f(&s.opts.WebSocket.Deflate)
		}
	}
}

func keeping(o *DeflateOptions) { o.ContextTakeover = true }

func keepingIf(keep bool) func(*DeflateOptions) {
	return func(o *DeflateOptions) { o.ContextTakeover = keep }
}

func window(bits int) func(*DeflateOptions) { return func(o *DeflateOptions) { o.WindowBits = bits } }

// defaulted are options as a server has them.
func defaulted(change ...func(*DeflateOptions)) *DeflateOptions {
	o := Options{}
	for _, f := range change {
		f(&o.WebSocket.Deflate)
	}
	o = o.WithDefaults()
	return &o.WebSocket.Deflate
}

// ask negotiates as a request with these header fields does.
func ask(o *DeflateOptions, values ...string) (response string, a answered, ok bool) {
	var r request
	for _, v := range values {
		r.fields = append(r.fields, field{[]byte("Sec-WebSocket-Extensions"), []byte(v)})
	}
	if a, ok = r.negotiate(o); ok && a.compresses() {
		response = strings.TrimSuffix(strings.TrimPrefix(string(a.appendTo(nil)), "Sec-WebSocket-Extensions: "), "\r\n")
	}
	return response, a, ok
}

const forgets = "; server_no_context_takeover; client_no_context_takeover"

func TestNegotiation(t *testing.T) {
	plain, keeps := defaulted(), defaulted(keeping, window(15))
	const pd = "permessage-deflate"
	for _, tc := range []struct {
		name, offer string
		o           *DeflateOptions
		want        string // the response's value; empty: declined
	}{
		{"no parameters", pd, plain, pd + forgets},
		{"a browser's offer", pd + "; client_max_window_bits", plain, pd + forgets},
		{"spaces and tabs are free", " \t" + pd + " \t; \tclient_max_window_bits \t= \t10\t", plain, pd + forgets},
		{"takeover both ways", pd, keeps, pd},
		{"the client forbids ours", pd + "; server_no_context_takeover", keeps, pd + "; server_no_context_takeover"},
		{"the client says that it forgets", pd + "; client_no_context_takeover", keeps, pd + "; client_no_context_takeover"},
		{"our window, the smallest", pd + "; server_max_window_bits=8", plain, pd + forgets + "; server_max_window_bits=8"},
		{"our window, the largest", pd + "; server_max_window_bits=15", plain, pd + forgets + "; server_max_window_bits=15"},
		{"a quoted value", pd + `; server_max_window_bits="10"`, plain, pd + forgets + "; server_max_window_bits=10"},
		{"a quoted value with an escape", pd + `; server_max_window_bits="\1\0"`, plain, pd + forgets + "; server_max_window_bits=10"},
		{"our window is smaller than asked for", pd + "; server_max_window_bits=14", defaulted(window(11)), pd + forgets + "; server_max_window_bits=11"},
		{"the client's window need not be bounded", pd + "; client_max_window_bits=9", plain, pd + forgets},
		{"the client's window is bounded where it may be", pd + "; client_max_window_bits", defaulted(window(11)), pd + forgets + "; client_max_window_bits=11"},
		{"the client's window is small already", pd + "; client_max_window_bits=9", defaulted(window(11)), pd + forgets},
		{"with takeover both windows are bounded", pd + "; client_max_window_bits; server_max_window_bits=13", defaulted(keeping), pd + "; server_max_window_bits=12; client_max_window_bits=12"},
		{"a window that cannot be bounded is not remembered", pd, defaulted(keeping), pd + "; client_no_context_takeover"},
		{"all parameters", pd + "; client_max_window_bits=10; server_max_window_bits=9; client_no_context_takeover; server_no_context_takeover", keeps,
			pd + forgets + "; server_max_window_bits=9"},

		{"another extension", "x-webkit-deflate-frame", plain, ""},
		{"ours after another", "foo; bar=1, " + pd, plain, pd + forgets},
		{"another after ours", pd + ", foo; bar=\"1\"", plain, pd + forgets},
		{"a parameter of another extension is not ours", "foo; server_max_window_bits=77, " + pd, plain, pd + forgets},
		{"the first of two", pd + "; server_max_window_bits=9, " + pd, plain, pd + forgets + "; server_max_window_bits=9"},
		{"the first that can be met", pd + "; server_max_window_bits=7, " + pd + "; server_max_window_bits=10, " + pd, plain, pd + forgets + "; server_max_window_bits=10"},
		{"empty elements count for nothing", ",, " + pd + " ,", plain, pd + forgets},

		{"an unknown parameter", pd + "; foo", plain, ""},
		{"the name in capitals", "Permessage-Deflate", plain, ""},
		{"server_no_context_takeover with a value", pd + "; server_no_context_takeover=1", plain, ""},
		{"client_no_context_takeover with a value", pd + "; client_no_context_takeover=true", plain, ""},
		{"server_no_context_takeover twice", pd + "; server_no_context_takeover; server_no_context_takeover", plain, ""},
		{"client_no_context_takeover twice", pd + "; client_no_context_takeover; client_no_context_takeover", plain, ""},
		{"server_max_window_bits twice", pd + "; server_max_window_bits=10; server_max_window_bits=10", plain, ""},
		{"client_max_window_bits twice", pd + "; client_max_window_bits; client_max_window_bits=10", plain, ""},
		{"server_max_window_bits without a value", pd + "; server_max_window_bits", plain, ""},
		{"a window of 7", pd + "; server_max_window_bits=7", plain, ""},
		{"a window of 16", pd + "; client_max_window_bits=16", plain, ""},
		{"a leading zero", pd + "; server_max_window_bits=08", plain, ""},
		{"a window of 1", pd + "; client_max_window_bits=1", plain, ""},
		{"no number", pd + "; server_max_window_bits=x", plain, ""},
		{"a long number", pd + "; server_max_window_bits=10000000000000000000000010", plain, ""},
		{"compression is off", pd, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, a, ok := ask(tc.o, tc.offer)
			if !ok || got != tc.want {
				t.Errorf("%q is answered %q, %v; want %q", tc.offer, got, ok, tc.want)
			}
			if n := a.keepsBytes(); (n > 0) != a.keeps() {
				t.Errorf("%+v remembers %d bytes", a, n)
			}
		})
	}

	t.Run("fields count as one list", func(t *testing.T) {
		if got, _, ok := ask(plain, "foo", pd+"; server_max_window_bits=7", pd+"; server_max_window_bits=12"); !ok || got != pd+forgets+"; server_max_window_bits=12" {
			t.Errorf("answered %q, %v", got, ok)
		}
	})
}

// TestBrokenExtensions is about RFC 6455 §9.1: who breaks the grammar gets no
// connection, whether compression is on or not.
func TestBrokenExtensions(t *testing.T) {
	const pd = "permessage-deflate"
	for _, value := range []string{
		"", " ", ",", ";", "=", "; foo", pd + ";", pd + "; ", pd + ";;", pd + "; =1", pd + "; a=", pd + "; a=,", pd + " foo", pd + "; a b", pd + "; a=b c",
		pd + `; a="`, pd + `; a=""`, pd + `; a="b`, pd + `; a="b c"`, pd + `; a="b\"`, pd + `; a="\"b"`, pd + `; a="b"c`, pd + `; "a"=b`, pd + "; a=b=c", "f@o", pd + ", foo/1", pd + "; a=\xff",
	} {
		for _, o := range []*DeflateOptions{defaulted(), nil} {
			if _, _, ok := ask(o, value); ok {
				t.Errorf("%q is taken", value)
			}
			if _, _, ok := ask(o, pd, value); ok {
				t.Errorf("%q is taken behind a good field", value)
			}
		}
	}
	l := newLab(t)
	c := l.knock()
	c.write(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: "+pd+";\r\n\r\n", 1))
	l.settle()
	if got := string(c.take()); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("answered %q", got)
	}
	l.close()
}

// TestManyOffers is T-037 of the list of faults: as many offers as a header takes.
func TestManyOffers(t *testing.T) {
	offers := strings.Repeat("permessage-deflate; server_max_window_bits=7, ", 1000) + "permessage-deflate; server_max_window_bits=9, " + strings.Repeat("permessage-deflate, ", 999) + "permessage-deflate"
	o := defaulted()
	start := time.Now()
	got, _, ok := ask(o, offers)
	t.Logf("2,000 offers took %v", time.Since(start))
	if !ok || got != "permessage-deflate"+forgets+"; server_max_window_bits=9" {
		t.Errorf("answered %q, %v", got, ok)
	}
}

// FuzzNegotiate holds the list against another parser of it, and the answer
// against RFC 7692.
func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", `permessage-deflate; server_max_window_bits="\10"; client_no_context_takeover`,
		"foo; bar=1, permessage-deflate; server_max_window_bits=8, permessage-deflate", ",, a ,", "a;b=\"", "a;=", "a b", `a; b="c\"`,
	} {
		f.Add(seed, true, byte(12))
	}
	f.Fuzz(func(t *testing.T, value string, keep bool, bits byte) {
		o := defaulted(window(minWindowBits + int(bits%8)))
		o.ContextTakeover = keep
		response, a, ok := ask(o, value)
		_, _, okOff := ask(nil, value)
		if ok != okOff {
			t.Fatalf("%q: %v with compression, %v without", value, ok, okOff)
		}
		if !ok {
			return
		}
		if theirs, parsed := httphead.ParseOptions([]byte(value), nil); parsed {
			sameList(t, value, theirs)
		}
		if !a.compresses() {
			return
		}
		if !strings.Contains(value, deflateName) {
			t.Errorf("%q is answered %q", value, response)
		}
		if a.in.bits() < minWindowBits || a.in.bits() > maxWindowBits || a.out.bits() < minWindowBits || int(a.out.bits()) > o.WindowBits {
			t.Errorf("%q: windows %d and %d", value, a.in.bits(), a.out.bits())
		}
		if a.keeps() && !keep || a.keepsBytes() > 2<<o.WindowBits {
			t.Errorf("%q: %d bytes are remembered, with windows of %d bits", value, a.keepsBytes(), o.WindowBits)
		}
		for _, rule := range [][2]string{{"server_max_window_bits=", "server_max_window_bits"}, {"client_max_window_bits=", "client_max_window_bits"}} {
			if strings.Contains(response, rule[0]) && !strings.Contains(value, rule[1]) {
				t.Errorf("%q is answered %q", value, response)
			}
		}
		if _, b, ok := ask(o, response); !ok || !b.compresses() || b.out.bits() != a.out.bits() {
			t.Errorf("the answer %q to %q is answered with %+v, %v", response, value, b, ok)
		}
	})
}

// sameList compares how the list and httphead, which takes more, read a value.
func sameList(t *testing.T, value string, theirs []httphead.Option) {
	t.Helper()
	l := extensionList{rest: []byte(value)}
	at := -1
	for l.next() {
		if !l.isParam {
			at++
			if at >= len(theirs) || string(theirs[at].Name) != string(l.name) {
				t.Fatalf("%q: extension %d is %q; theirs: %v", value, at, l.name, theirs)
			}
			continue
		}
		if strings.Count(value, string(l.name)) > 1 || strings.Contains(value, "\\") {
			continue // theirs keeps one parameter of a name
		}
		if v, there := theirs[at].Parameters.Get(string(l.name)); !there || string(v) != string(l.value) {
			t.Fatalf("%q: parameter %q is %q; theirs: %q", value, l.name, l.value, v)
		}
	}
	if at+1 != len(theirs) {
		t.Fatalf("%q has %d extensions; theirs: %v", value, at+1, theirs)
	}
}
