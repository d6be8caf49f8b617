package cli

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/sign"
)

const signLong = `Signs a module, so that a server whose configuration names the key under
modules.NAME.signers loads it, and no other bytes.

--new-key makes a key: the secret one goes into FILE, the public one to standard output.
The signature covers the whole module and the version; a server refuses a version older
than one that it has loaded. The format is that of wasmsign2, and its keys are read too.

Exit codes: 0 signed, 1 a file cannot be read or written, 2 it is no module, or no key.`

func newSign(env *Env) *cobra.Command {
	var keyFile, newKey, out string
	var version uint64
	cmd := &cobra.Command{
		Use:   "sign MODULE.wasm --key FILE",
		Short: "sign a module",
		Long:  signLong,
		Example: "  weir sign --new-key team.key            # prints the public key, for modules.NAME.signers\n" +
			"  weir sign chat.wasm --key team.key      # signs the file in place",
		GroupID: "start",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case newKey != "" && (keyFile != "" || len(args) > 0):
				return usage("--new-key only makes a key; sign with --key in a second command")
			case newKey != "":
				return makeKey(env, newKey)
			case len(args) == 0:
				return usage("give the MODULE.wasm to sign, or --new-key to make a key")
			case keyFile == "":
				return usage("give the secret key with --key FILE; `weir sign --new-key FILE` makes one")
			}
			if out == "" {
				out = args[0]
			}
			if !cmd.Flags().Changed("version") {
				version = uint64(time.Now().Unix())
			}
			return signFile(env, args[0], keyFile, out, version)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&keyFile, "key", "k", "", "`FILE` with the secret key")
	flags.StringVar(&newKey, "new-key", "", "`FILE` to write a new secret key to; it must not exist")
	flags.StringVarP(&out, "output", "o", "", "`FILE` to write; the module itself when empty")
	flags.Uint64Var(&version, "version", 0, "`NUMBER` of this version, never lower than the last; the seconds since 1970 when it is not given")
	return cmd
}

// secretKey is what comes before a secret key in wasmsign2's files.
const secretKey = 0x81

func makeKey(env *Env, file string) error {
	public, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	if _, err := env.ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
		return usage("%s exists; a key is never overwritten", file)
	}
	text := base64.StdEncoding.EncodeToString(append([]byte{secretKey}, secret...)) + "\n"
	if err := env.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	fmt.Fprintln(env.Stderr, "the secret key is in "+file+"; the public one, for modules.NAME.signers, is")
	_, err = fmt.Fprintln(env.Stdout, sign.FormatKey(public))
	return err
}

func signFile(env *Env, module, keyFile, out string, version uint64) error {
	text, err := env.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := parseSecretKey(text)
	if err != nil {
		return usage("%s: %v", keyFile, err)
	}
	wasm, err := env.ReadFile(module)
	if err != nil {
		return err
	}
	signed, err := sign.Sign(wasm, key, version)
	if err != nil {
		return usage("%s: %v", module, err)
	}
	made, err := besideFile(out, signed)
	if err == nil {
		err = made.commit()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "%s: version %d, signed by %s\n", out, version, sign.FormatKey(key.Public().(ed25519.PublicKey)))
	return nil
}

// parseSecretKey reads what makeKey writes, and wasmsign2's form of it, which is
// the same without base64.
func parseSecretKey(text []byte) (ed25519.PrivateKey, error) {
	const length = 1 + ed25519.PrivateKeySize
	if len(text) != length {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, errors.New("this is not a secret key of weir sign --new-key")
		}
		text = decoded
	}
	if len(text) != length || text[0] != secretKey {
		return nil, errors.New("this is not a secret key of weir sign --new-key")
	}
	key := ed25519.NewKeyFromSeed(text[1 : 1+ed25519.SeedSize])
	if string(key) != string(text[1:]) {
		return nil, errors.New("the public half of the key is not that of the secret one")
	}
	return key, nil
}
