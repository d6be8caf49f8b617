package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(seed byte) ed25519.PublicKey { return key(seed).Public().(ed25519.PublicKey) }

// plain is a module with two custom sections, which is all a signature needs.
func plain() []byte {
	return appendCustom(appendCustom([]byte(preamble), "one", []byte("1")), "two", bytes.Repeat([]byte("2"), 300))
}

func signed(t *testing.T, seed byte, version uint64) []byte {
	t.Helper()
	module, err := Sign(plain(), key(seed), version)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestASignedModuleIsVerified(t *testing.T) {
	module := signed(t, 1, 1<<40)
	signer, err := Verify(module, []ed25519.PublicKey{public(2), public(1)})
	if err != nil || !signer.Equal(public(1)) {
		t.Errorf("signer %x, %v; want that of seed 1", signer, err)
	}
	if v := Version(module); v != 1<<40 {
		t.Errorf("version %d, want %d", v, uint64(1)<<40)
	}
	if !bytes.Contains(module, plain()[len(preamble):]) {
		t.Error("the module's own sections are not as they were")
	}
}

func TestSigningAgainReplaces(t *testing.T) {
	twice, err := Sign(signed(t, 1, 7), key(2), 8)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(twice, signed(t, 2, 8)) {
		t.Error("a module signed twice differs from one signed once")
	}
}

// TestAnotherToolsSignature is of a file that wasmsign2-cli 0.2.8 has written.
func TestAnotherToolsSignature(t *testing.T) {
	module, err := os.ReadFile("testdata/wasmsign2.wasm")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/wasmsign2.pub")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ParseKey(base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := Verify(module, []ed25519.PublicKey{theirs}); err != nil || !signer.Equal(theirs) {
		t.Errorf("signer %x, %v", signer, err)
	}
	if v := Version(module); v != 0 {
		t.Errorf("version %d, want none", v)
	}
}

func TestWhatIsNotTrusted(t *testing.T) {
	good := signed(t, 1, 1)
	sections, err := split(good)
	if err != nil {
		t.Fatal(err)
	}
	data := sections[0].body
	rest := good[len(preamble)+len(sections[0].raw):]
	with := func(data []byte) []byte {
		return append(appendCustom([]byte(preamble), signatureSection, data), rest...)
	}
	changed := func(at int) []byte {
		c := slices.Clone(data)
		c[at] ^= 1
		return c
	}
	for _, tc := range []struct {
		name   string
		module []byte
		want   error
	}{
		{"a module without a signature", plain(), ErrUnsigned},
		{"an empty module", []byte(preamble), ErrUnsigned},
		{"a signature that is not the first section", append(slices.Clone(good[:0]), slices.Concat([]byte(preamble), rest, sections[0].raw)...), ErrUnsigned},
		{"a signature by somebody else", signed(t, 3, 1), ErrSignature},
		{"a signature of other bytes", with(mustSection(t, signed(t, 1, 2))), ErrSignature},
		{"a section that was added behind", appendCustom(slices.Clone(good), "extra", nil), ErrSignature},
		{"a section that was taken away", good[:len(good)-len(sections[len(sections)-1].raw)], ErrSignature},
		{"a bit of the code flipped", flipped(good, len(good)-1), ErrSignature},
		{"a bit of the hash flipped", with(changed(10)), ErrSignature},
		{"a bit of the signature flipped", with(changed(len(data) - 1)), ErrSignature},
		{"another specification's version", with(changed(0)), ErrSignature},
		{"another content type", with(changed(1)), ErrSignature},
		{"another hash function", with(changed(2)), ErrSignature},
		{"another algorithm", with(changed(len(data) - 66)), ErrSignature},
		{"no data", with(nil), ErrSignature},
		{"no sets", with([]byte(format + "\x00")), ErrSignature},
		{"bytes behind the last signature", with(append(slices.Clone(data), 0)), ErrSignature},
		{"a count without end", with(append([]byte(format), 0xFF, 0xFF, 0xFF, 0xFF, 0x0F)), ErrSignature},
		{"a set without hashes", with(append([]byte(format), 1, 2, 0, 0)), ErrSignature},
		{"data that ends early", with(data[:len(data)-1]), ErrSignature},
		{"no module at all", []byte("#!/bin/sh"), errNotModule},
		{"a section longer than the file", append([]byte(preamble), 0, 9, 1), errNotModule},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if signer, err := Verify(tc.module, []ed25519.PublicKey{public(1), public(2)}); !errors.Is(err, tc.want) || signer != nil {
				t.Errorf("signer %x, %v; want %v", signer, err, tc.want)
			}
		})
	}
	if _, err := Verify(good, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
}

func mustSection(t *testing.T, module []byte) []byte {
	t.Helper()
	sections, err := split(module)
	if err != nil {
		t.Fatal(err)
	}
	return sections[0].body
}

func flipped(p []byte, at int) []byte {
	p = slices.Clone(p)
	p[at] ^= 0x80
	return p
}

// TestManySignatures takes the format as far as it goes: parts, several signers,
// names of keys, algorithms that nobody here knows.
func TestManySignatures(t *testing.T) {
	body := plain()[len(preamble):]
	hashes := make([]byte, sha256.Size, 2*sha256.Size)
	whole := sha256.Sum256(body)
	hashes = append(hashes, whole[:]...)
	set := append(append([]byte{2}, hashes...), 3)
	set = appendSized(set, []byte{5, 'f', 'i', 'r', 's', 't', 9, 3, 1, 2, 3})
	set = appendSized(set, append([]byte{0, ed25519ID, 64}, ed25519.Sign(key(5), message(hashes))...))
	set = appendSized(set, append([]byte{6, 's', 'e', 'c', 'o', 'n', 'd', ed25519ID, 64}, ed25519.Sign(key(6), message(hashes))...))
	data := appendSized(append([]byte(format), 1), set)
	module := append(appendCustom([]byte(preamble), signatureSection, data), body...)
	for seed := byte(5); seed <= 6; seed++ {
		if _, err := Verify(module, []ed25519.PublicKey{public(seed)}); err != nil {
			t.Errorf("signer %d: %v", seed, err)
		}
	}
}

func TestKeysAreRead(t *testing.T) {
	text := FormatKey(public(1))
	if k, err := ParseKey(text); err != nil || !k.Equal(public(1)) {
		t.Errorf("%x, %v", k, err)
	}
	for _, bad := range []string{"", "?", text[:8], base64.StdEncoding.EncodeToString(append([]byte{2}, public(1)...)), text + text} {
		if _, err := ParseKey(bad); err == nil || !strings.Contains(err.Error(), "base64 of 32 bytes") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzVerify holds that bytes of strangers do no harm, and that whoever changes
// anything behind the signature of a module loses it.
func FuzzVerify(f *testing.F) {
	good, err := Sign(plain(), key(1), 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(plain())
	f.Add(appendCustom([]byte(preamble), signatureSection, []byte(format+"\x01\x02\x01")))
	f.Add(append([]byte(preamble), 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F))
	keys := []ed25519.PublicKey{public(1)}
	f.Fuzz(func(t *testing.T, module []byte) {
		Version(module)
		if _, err := Verify(module, keys); err == nil {
			sections, _ := split(module)
			rest := module[len(preamble)+len(sections[0].raw):]
			if !bytes.HasSuffix(good, rest) || len(rest) == 0 {
				t.Fatalf("%x is trusted", module)
			}
		}
		again, err := Sign(module, key(2), 1<<63)
		if err != nil {
			return
		}
		if _, err := Verify(again, []ed25519.PublicKey{public(2)}); err != nil || Version(again) != 1<<63 {
			t.Fatalf("signed anew, %x: %v, version %d", again, err, Version(again))
		}
		if len(again) > len(module)+200 {
			t.Fatalf("%d bytes became %d", len(module), len(again))
		}
	})
}
