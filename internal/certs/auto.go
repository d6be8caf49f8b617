package certs

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeProtocol is what an authority negotiates to see whether a name leads here
// (RFC 8737 §6.2).
const acmeProtocol = acme.ALPNProto

// auto gets certificates from an authority.
type auto struct {
	domains []string // lower case
	get     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	logger  *slog.Logger

	mu      sync.Mutex // below
	waiting map[question]*request
}

// question is what an answer depends on.
type question struct {
	name  string
	ecdsa bool // the client can check such a signature; else it gets an RSA key
}

// request is one call of get for a question; those who come meanwhile wait for it.
type request struct {
	done        chan struct{} // closed when the rest is there
	certificate *tls.Certificate
	err         error
}

func newAuto(o AutocertOptions, logger *slog.Logger) *auto {
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(o.CacheDir),
		HostPolicy: autocert.HostWhitelist(o.Domains...),
		Email:      o.Email,
	}
	if o.Directory != "" {
		m.Client = &acme.Client{DirectoryURL: o.Directory}
	}
	return autoOf(o.Domains, m.GetCertificate, logger)
}

func autoOf(domains []string, get func(*tls.ClientHelloInfo) (*tls.Certificate, error), logger *slog.Logger) *auto {
	a := &auto{get: get, logger: logger, waiting: map[question]*request{}}
	for _, name := range domains {
		a.domains = append(a.domains, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	return a
}

// serves reports whether hello asks for a name that certificates are got for.
func (a *auto) serves(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(a.domains, nameIn(hello))
}

func nameIn(hello *tls.ClientHelloInfo) string {
	return strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
}

// certificate is the one for hello. The first may take the authority a minute,
// longer than a client waits or a handshake may last; the library goes on then,
// and so does this, so that a later handshake finds it.
func (a *auto) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	challenge := slices.Equal(hello.SupportedProtos, []string{acmeProtocol})
	if challenge {
		return a.get(hello) // answered from memory
	}
	q := question{nameIn(hello), slices.ContainsFunc(hello.SignatureSchemes, isECDSA)}
	a.mu.Lock()
	r := a.waiting[q]
	if r == nil {
		r = &request{done: make(chan struct{})}
		a.waiting[q] = r
		// Without the handshake's context: nobody who goes away takes it with them.
		plain := &tls.ClientHelloInfo{
			ServerName: hello.ServerName, CipherSuites: hello.CipherSuites, SupportedCurves: hello.SupportedCurves,
			SignatureSchemes: hello.SignatureSchemes, SupportedProtos: hello.SupportedProtos, SupportedVersions: hello.SupportedVersions,
		}
		go a.ask(q, plain, r) // ends within the library's 5 minutes; nobody waits for it when the server stops
	}
	a.mu.Unlock()
	select {
	case <-r.done:
		return r.certificate, r.err
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
}

func (a *auto) ask(q question, hello *tls.ClientHelloInfo, r *request) {
	r.certificate, r.err = a.get(hello)
	if r.err != nil {
		a.logger.Warn("no certificate from the authority", "name", q.name, "err", r.err)
	}
	a.mu.Lock()
	delete(a.waiting, q)
	a.mu.Unlock()
	close(r.done)
}

func isECDSA(s tls.SignatureScheme) bool {
	switch s {
	case tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512:
		return true
	}
	return false
}
