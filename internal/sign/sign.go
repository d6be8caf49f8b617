package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The format's names and numbers.
const (
	signatureSection = "signature"
	versionSection   = "weir_version"

	domain    = "wasmsig"
	format    = "\x01\x01\x01" // specification 1, content: a module, hash: SHA-256
	ed25519ID = 0x01           // of the algorithm; also the first byte of a serialised public key
)

// Why a module is not trusted.
var (
	// ErrUnsigned means that a module carries no signature.
	ErrUnsigned = errors.New("sign: the module is not signed")
	// ErrSignature means that none of a module's signatures is one of its bytes by
	// one of the keys.
	ErrSignature = errors.New("sign: no signature of the module is by a known key")
)

// errDamaged means that the signature section cannot be read.
var errDamaged = fmt.Errorf("%w: the signature section is damaged", ErrSignature)

// ParseKey reads a public key: base64 (RFC 4648 §4) of its 32 bytes, with or
// without the 0x01 that the format puts before them.
func ParseKey(text string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("a key is base64 of 32 bytes")
	}
	if len(b) == 1+ed25519.PublicKeySize && b[0] == ed25519ID {
		b = b[1:]
	}
	if len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("a key is base64 of 32 bytes, not of %d", len(b))
	}
	return ed25519.PublicKey(b), nil
}

// FormatKey writes a public key as ParseKey reads it.
func FormatKey(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// Sign returns module with a signature by key and with version, which replaces one
// that it has; other signatures go too. module stays as it is.
func Sign(module []byte, key ed25519.PrivateKey, version uint64) ([]byte, error) {
	sections, err := split(module)
	if err != nil {
		return nil, err
	}
	var rest []byte
	for _, s := range sections {
		if s.name != signatureSection && s.name != versionSection {
			rest = append(rest, s.raw...)
		}
	}
	rest = appendCustom(rest, versionSection, binary.AppendUvarint(nil, version))
	hash := sha256.Sum256(rest)

	one := append([]byte{0, ed25519ID, ed25519.SignatureSize}, ed25519.Sign(key, message(hash[:]))...) // by a key without a name
	set := append([]byte{1}, hash[:]...)
	set = appendSized(append(set, 1), one)
	data := appendSized(append([]byte(format), 1), set)
	return append(appendCustom([]byte(preamble), signatureSection, data), rest...), nil
}

// message is what a signature of hashes signs.
func message(hashes []byte) []byte { return slices.Concat([]byte(domain+format), hashes) }

// Verify checks that one of the keys has signed all of module, and returns which.
// It fails with ErrUnsigned or ErrSignature.
func Verify(module []byte, keys []ed25519.PublicKey) (ed25519.PublicKey, error) {
	sections, err := split(module)
	if err != nil {
		return nil, err
	}
	if len(sections) == 0 || sections[0].name != signatureSection {
		return nil, ErrUnsigned
	}
	whole := sha256.Sum256(module[len(preamble)+len(sections[0].raw):])
	var signer ed25519.PublicKey
	err = each(sections[0].body, func(hashes, signature []byte) {
		// The last hash is of everything; those before are of parts, which nobody here verifies.
		if signer != nil || !slices.Equal(hashes[len(hashes)-sha256.Size:], whole[:]) {
			return
		}
		for _, key := range keys {
			if ed25519.Verify(key, message(hashes), signature) {
				signer = key
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if signer == nil {
		return nil, ErrSignature
	}
	return signer, nil
}

// each calls f for every Ed25519 signature in the data of a signature section.
func each(data []byte, f func(hashes, signature []byte)) error {
	rest, ok := bytes.CutPrefix(data, []byte(format))
	if !ok {
		return fmt.Errorf("%w: its format is another", ErrSignature)
	}
	r := reader{rest: rest}
	for range r.count() {
		set := reader{rest: r.sized()}
		hashes := set.take(set.count() * sha256.Size)
		for range set.count() {
			one := reader{rest: set.sized()}
			one.sized() // the key's name
			algorithm, signature := one.take(1), one.sized()
			if !one.done() {
				return errDamaged
			}
			if algorithm[0] == ed25519ID && len(signature) == ed25519.SignatureSize && len(hashes) > 0 {
				f(hashes, signature)
			}
		}
		if !set.done() {
			return errDamaged
		}
	}
	if !r.done() {
		return errDamaged
	}
	return nil
}

// Version is the version that Sign has put into module; 0 when there is none. Only
// of a module that was verified is it worth anything.
func Version(module []byte) uint64 {
	sections, err := split(module)
	if err != nil {
		return 0
	}
	for _, s := range sections {
		if s.id == customSection && s.name == versionSection {
			v, n := binary.Uvarint(s.body)
			if n > 0 {
				return v
			}
		}
	}
	return 0
}
