package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// signer makes a key in folder and returns its file and the public key.
func signer(t *testing.T, folder, name string) (file, public string) {
	t.Helper()
	file = filepath.Join(folder, name)
	code, out, said := command(t, realEnv(), "sign", "--new-key", file)
	if code != exitOK || !strings.Contains(said, file) {
		t.Fatalf("exit code %d: %s", code, said)
	}
	return file, strings.TrimSpace(out)
}

// signWith signs wasm into a file that is returned.
func signWith(t *testing.T, key string, wasm []byte, version string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "signed.wasm")
	write(t, file, wasm)
	if code, _, said := command(t, realEnv(), "sign", file, "--key", key, "--version", version); code != exitOK {
		t.Fatalf("exit code %d: %s", code, said)
	}
	signed, err := os.ReadFile(file)
	must(t, err)
	return signed
}

// TestOnlySignedModulesTakeOver plays every way in which a signature can be
// wrong against a server that runs.
func TestOnlySignedModulesTakeOver(t *testing.T) {
	first, second := versions(t)
	folder := t.TempDir()
	key, public := signer(t, folder, "team.key")
	stranger, _ := signer(t, folder, "stranger.key")
	good, module := filepath.Join(folder, "weir.yaml"), filepath.Join(folder, "chat.wasm")
	write(t, good, []byte("modules: {chat: {path: chat.wasm, capabilities: [topics], signers: ['"+public+"']}}\nroutes: [{path: '/{path...}', module: chat}]\n"))

	write(t, module, first)
	if code, _, said := command(t, realEnv(), "serve", "--listen", "127.0.0.1:0", "--config", good); code != exitUsage || !strings.Contains(said, "module chat: sign: the module is not signed") {
		t.Fatalf("a server began with a module that is not signed: exit code %d: %s", code, said)
	}

	write(t, module, signWith(t, key, first, "5"))
	s, _ := serveFile(t, "--config", good)
	line := s.stderr.wait(t, "module loaded")
	if !strings.Contains(line, public) || !strings.Contains(line, "version=5") {
		t.Errorf("the log does not say who has signed: %s", line)
	}
	ws := s.dial("/")
	newer := signWith(t, key, second, "6")
	for i, tc := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"without a signature", second, "the module is not signed"},
		{"signed by somebody else", signWith(t, stranger, second, "7"), "no signature of the module is by a known key"},
		{"with a section added behind the signature", append(append([]byte{}, newer...), 0, 2, 1, 'x'), "no signature of the module is by a known key"},
		{"signed, and older", signWith(t, key, second, "4"), "a newer version was loaded before: 5, and this is 4"},
	} {
		write(t, module, tc.wasm)
		if line := s.stderr.waitFor(t, "a module is refused", i+1); !strings.Contains(line, tc.want) || !strings.Contains(line, "gen=1") {
			t.Errorf("%s: it says %s", tc.name, line)
		}
		echo(t, ws, tc.name)
	}
	write(t, module, newer)
	if line := s.stderr.wait(t, "module reloaded"); !strings.Contains(line, "version=6") {
		t.Errorf("it says %s", line)
	}
	echo(t, ws, "newer")
	ws.Close()
	s.stop()
}

func TestSignSaysWhatIsWrong(t *testing.T) {
	folder := t.TempDir()
	key, _ := signer(t, folder, "team.key")
	text := filepath.Join(folder, "text")
	write(t, text, []byte("hello"))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"a key that exists":        {[]string{"--new-key", key}, "never overwritten"},
		"a key and a module":       {[]string{"--new-key", key + "2", text}, "only makes a key"},
		"nothing":                  {nil, "MODULE.wasm"},
		"no key":                   {[]string{text}, "--key FILE"},
		"a key that is none":       {[]string{text, "--key", text}, "not a secret key"},
		"a module that is none":    {[]string{text, "--key", key}, "not a WebAssembly module"},
		"a version that is no one": {[]string{text, "--key", key, "--version", "x"}, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, _, said := command(t, realEnv(), append([]string{"sign"}, tc.args...)...); code != exitUsage || !strings.Contains(said, tc.want) {
				t.Errorf("exit code %d: %s", code, said)
			}
		})
	}
}
