package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// MinTokenBytes is how long a configured token is at least.
const MinTokenBytes = 32

// tokenBytes is how many random bytes a generated token has.
const tokenBytes = 32

// TokenFile is where a server that listens on address, "host:port" or
// "unix:/path", keeps a token that it has generated, below the user's cache
// folder.
func TokenFile(cacheDir, address string) string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if absolute, err := filepath.Abs(path); err == nil {
			address = "unix" + absolute
		}
	} else if host, port, err := net.SplitHostPort(address); err == nil {
		if host == "localhost" {
			host = "127.0.0.1" // as it is bound
		}
		address = host + "_" + port
	}
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, address)
	return filepath.Join(cacheDir, "weir", "admin", name+".token")
}

// newToken is one that nobody knows.
func newToken() string {
	random := make([]byte, tokenBytes)
	rand.Read(random) // never fails
	return base64.RawURLEncoding.EncodeToString(random)
}

// writeToken makes file readable by its owner only, with the token in it.
func writeToken(file, token string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	// A new file, whatever was there: neither its mode nor a link is kept.
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, token)
	return errors.Join(err, f.Close())
}

// removeToken removes the file if it still holds that token, not a later server's.
func removeToken(file, token string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) != token {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(file)
}
