package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNoCertificate ends a handshake for a name that there is no certificate for.
var ErrNoCertificate = errors.New("certs: there is no certificate for that name")

// Store holds what handshakes use.
type Store struct {
	logger *slog.Logger
	config atomic.Pointer[tls.Config] // never nil
	pair   atomic.Pointer[pair]       // nil: there is autocert only

	mu       sync.Mutex // below; held while files are read
	options  Options
	client   [sha256.Size]byte // digest of the file of clients' authorities
	auto     *auto             // nil: none
	reloads  uint64
	refused  uint64
	autocert func(AutocertOptions, *slog.Logger) *auto // newAuto; tests have another
}

// pair is a certificate with its key.
type pair struct {
	certificate tls.Certificate
	digest      [sha256.Size]byte // of both files
}

// Stats are a store's figures.
type Stats struct {
	// NotAfter is when the certificate of the files ends; zero when there is none.
	NotAfter time.Time
	Loaded   uint64 // times that other files were taken since Open
	Refused  uint64 // times that they could not be used
}

// Open reads the files of o, which must be valid and enabled. Its errors, joined,
// begin with a key below that of the options. nil for a logger discards lines.
func Open(o Options, logger *slog.Logger) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{logger: logger, autocert: newAuto}
	if _, err := s.take(o); err != nil {
		return nil, err
	}
	return s, nil
}

// Config is what the next handshake uses. It must not be changed.
func (s *Store) Config() *tls.Config { return s.config.Load() }

// Options are those in force.
func (s *Store) Options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options
}

// Apply takes other options and reads their files. An error changes nothing.
func (s *Store) Apply(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.take(o)
	return err
}

// Reload reads the files again and reports whether handshakes see a difference.
// With an error everything stays as it was.
func (s *Store) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed, err = s.take(s.options)
	switch {
	case err != nil:
		s.refused++
	case changed:
		s.reloads++
	}
	return changed, err
}

// Stats returns the figures of this moment.
func (s *Store) Stats() Stats {
	var st Stats
	if p := s.pair.Load(); p != nil {
		st.NotAfter = p.certificate.Leaf.NotAfter
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Loaded, st.Refused = s.reloads, s.refused
	return st
}

// take reads what o names and puts it into force. The caller holds mu, or has the
// store for itself.
func (s *Store) take(o Options) (changed bool, err error) {
	next, pairErr := readPair(o)
	clients, digest, clientsErr := readClients(o)
	if err := errors.Join(pairErr, clientsErr); err != nil {
		return false, err
	}
	now := s.config.Load()
	if before := s.pair.Load(); before == nil || next == nil || before.digest != next.digest {
		changed = before != next
		s.pair.Store(next)
		s.warn(next)
	}
	if !reflect.DeepEqual(o.Autocert, s.options.Autocert) {
		s.auto, changed = nil, true
		if len(o.Autocert.Domains) > 0 {
			s.auto = s.autocert(o.Autocert, s.logger)
		}
	}
	// A session that is resumed is not asked for a certificate again, and tickets
	// are of the Config that gave them. So there is a new one whenever other clients
	// may come in, and else not: a renewed certificate costs no full handshakes.
	if now == nil || digest != s.client || o.auth() != now.ClientAuth || o.minVersion() != now.MinVersion ||
		!reflect.DeepEqual(o.Autocert, s.options.Autocert) {
		s.config.Store(s.newConfig(o, clients))
		changed = true
	}
	s.options, s.client = o, digest
	return changed, nil
}

// newConfig is what is fixed about handshakes; the certificate is looked up.
func (s *Store) newConfig(o Options, clients *x509.CertPool) *tls.Config {
	c := &tls.Config{
		MinVersion: o.minVersion(),
		ClientAuth: o.auth(),
		ClientCAs:  clients,
		// A WebSocket begins as HTTP/1.1 (RFC 6455 §1.2).
		NextProtos: []string{"http/1.1"},
		// Small records at first help a page that is drawn while it loads. A message
		// is of use when it is whole.
		DynamicRecordSizingDisabled: true,
	}
	auto := s.auto
	if auto != nil {
		c.NextProtos = append(c.NextProtos, acmeProtocol)
	}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if auto != nil && auto.serves(hello) {
			return auto.certificate(hello)
		}
		if p := s.pair.Load(); p != nil {
			return &p.certificate, nil
		}
		return nil, ErrNoCertificate
	}
	return c
}

// warn says that a certificate is useless now.
func (s *Store) warn(p *pair) {
	if p == nil {
		return
	}
	leaf := p.certificate.Leaf
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		s.logger.Warn("the certificate has expired; clients refuse it", "subject", leaf.Subject.String(), "not_after", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		s.logger.Warn("the certificate is not valid yet; clients refuse it", "subject", leaf.Subject.String(), "not_before", leaf.NotBefore)
	}
}

// readPair reads certificate and key; nil when o names none.
func readPair(o Options) (*pair, error) {
	if o.Cert == "" {
		return nil, nil
	}
	certificate, err := read("cert", o.Cert)
	key, keyErr := read("key", o.Key)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	p := &pair{digest: sha256.Sum256(bytes.Join([][]byte{certificate, key}, []byte{0}))}
	if p.certificate, err = tls.X509KeyPair(certificate, key); err != nil {
		return nil, fmt.Errorf("cert: %s with %s: %w", o.Cert, o.Key, err)
	}
	return p, nil
}

// readClients reads the authorities of clients.
func readClients(o Options) (*x509.CertPool, [sha256.Size]byte, error) {
	if o.ClientCA == "" {
		return nil, [sha256.Size]byte{}, nil
	}
	text, err := read("client_ca", o.ClientCA)
	if err != nil {
		return nil, [sha256.Size]byte{}, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, [sha256.Size]byte{}, fmt.Errorf("client_ca: %s holds no certificate in PEM", o.ClientCA)
	}
	return pool, sha256.Sum256(text), nil
}

// maxFileBytes bounds a file; a bundle of all authorities that browsers know is
// a quarter of it.
const maxFileBytes = 1 << 20

func read(key, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("it is not a regular file")}
	}
	if err == nil && info.Size() > maxFileBytes {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is longer than %d bytes", maxFileBytes)}
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return text, nil
}
