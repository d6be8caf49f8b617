package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Options say how a server speaks TLS. The zero value is a server without it.
type Options struct {
	// Cert is the file (PEM) of the certificate that clients are shown, with those
	// of the authorities between it and one that clients know behind it. With it,
	// or with Autocert, every address but those of unix sockets speaks TLS. It is
	// read again when it changes; connections stay open.
	Cert string `koanf:"cert"`
	// Key is the file (PEM) of the private key of Cert.
	Key string `koanf:"key"`
	// ClientCA is a file (PEM) of the authorities whose certificates clients may
	// show. It is read again when it changes. Required by ClientAuth.
	ClientCA string `koanf:"client_ca"`
	// ClientAuth says what is asked of clients: nothing ("none"), that a
	// certificate that they show is one of ClientCA's ("request"), or that they
	// show one ("require"). Empty means "none".
	ClientAuth string `koanf:"client_auth" oneof:"none,request,require"`
	// MinVersion is the oldest version of TLS that is spoken, "1.2" or "1.3". Empty
	// means "1.2".
	MinVersion string `koanf:"min_version" oneof:"1.2,1.3"`
	// Autocert gets certificates from an ACME authority.
	Autocert AutocertOptions `koanf:"autocert"`
}

// AutocertOptions say for which names certificates are asked for, and of whom.
// The authority proves a name by a connection to port 443 of it, which must lead
// to an address of Options.Listen (TLS-ALPN-01, RFC 8737); port 80 is not needed.
type AutocertOptions struct {
	// Domains are the names, without wildcards. With one, the authority's terms of
	// service are agreed to. Empty means that no certificate is asked for.
	Domains []string `koanf:"domains"`
	// CacheDir is the folder where keys and certificates are kept, with mode 0700.
	// Required with Domains: authorities soon refuse who asks again at every start.
	CacheDir string `koanf:"cache_dir"`
	// Email is where the authority may write to. Empty means nowhere.
	Email string `koanf:"email"`
	// Directory is the address of the authority's directory. Empty means that of
	// Let's Encrypt.
	Directory string `koanf:"directory"`
}

// Values of Options.ClientAuth and Options.MinVersion.
const (
	authNone    = "none"
	authRequest = "request"
	authRequire = "require"

	version12 = "1.2"
	version13 = "1.3"
)

// Enabled reports whether there is a certificate to show.
func (o Options) Enabled() bool { return o.Cert != "" || len(o.Autocert.Domains) > 0 }

// Files are those that the options name.
func (o Options) Files() []string {
	return slices.DeleteFunc([]string{o.Cert, o.Key, o.ClientCA}, func(name string) bool { return name == "" })
}

// Validate reports every mistake at once (errors.Join), each with its key below
// that of the options. It looks into no file.
func (o Options) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	switch {
	case o.Cert != "" && o.Key == "":
		bad("key", "is missing; it names the file of the certificate's private key")
	case o.Cert == "" && o.Key != "":
		bad("cert", "is missing; it names the file of the key's certificate")
	}
	asked := o.ClientAuth == authRequest || o.ClientAuth == authRequire
	switch {
	case !asked && o.ClientAuth != "" && o.ClientAuth != authNone:
		bad("client_auth", "%q is not one of %s, %s, %s", o.ClientAuth, authNone, authRequest, authRequire)
	case asked && o.ClientCA == "":
		bad("client_ca", "is missing; client_auth asks for certificates of it")
	case !asked && o.ClientCA != "":
		bad("client_ca", "nobody is asked for a certificate; set client_auth to %q or %q", authRequire, authRequest)
	case asked && !o.Enabled() && o.Key == "":
		bad("cert", "is missing; without TLS nobody is asked for a certificate")
	}
	if !slices.Contains([]string{"", version12, version13}, o.MinVersion) {
		bad("min_version", "%q is neither \"1.2\" nor \"1.3\"", o.MinVersion)
	}
	a := o.Autocert
	for i, name := range a.Domains {
		switch key := fmt.Sprintf("autocert.domains[%d]", i); {
		case strings.Contains(name, "*"):
			bad(key, "%q has a wildcard, which needs a challenge in the DNS", name)
		case strings.ContainsAny(name, ":/ ") || !strings.Contains(strings.Trim(name, "."), "."):
			bad(key, "%q is not a name such as chat.example.com", name)
		}
	}
	if len(a.Domains) > 0 && a.CacheDir == "" {
		bad("autocert.cache_dir", "is missing; authorities soon refuse who asks again at every start")
	}
	if a.Directory != "" && !strings.HasPrefix(a.Directory, "https://") {
		bad("autocert.directory", "%q is not an address with https://", a.Directory)
	}
	return errors.Join(errs...)
}

// auth is what is asked of clients.
func (o Options) auth() tls.ClientAuthType {
	switch {
	case o.ClientAuth == authRequest:
		return tls.VerifyClientCertIfGiven
	case o.ClientAuth == authRequire:
		return tls.RequireAndVerifyClientCert
	default:
		return tls.NoClientCert
	}
}

func (o Options) minVersion() uint16 {
	if o.MinVersion == version13 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}
