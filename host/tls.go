package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync/atomic"

	"weir/internal/certs"
)

// TLSOptions say how a server speaks TLS.
type TLSOptions = certs.Options

// tlsRefusal says why a handshake came to nothing.
type tlsRefusal uint8

const (
	tlsNotTLS            tlsRefusal = iota // plain HTTP, or anything else
	tlsVersion                             // only older ones than ours
	tlsProtocol                            // no ALPN protocol in common
	tlsCipher                              // no cipher suite in common
	tlsNoCertificate                       // of ours for the name
	tlsClientCertificate                   // missing, or not one of client_ca's
	tlsAlert                               // the client does not want ours, most of all
	tlsGone                                // the client hung up
	tlsUnfinished                          // it took too long, or the server stopped
	tlsOther
	tlsRefusals // how many there are
)

var tlsRefusalLabels = [tlsRefusals]string{
	tlsNotTLS:            "not_tls",
	tlsVersion:           "version",
	tlsProtocol:          "protocol",
	tlsCipher:            "cipher",
	tlsNoCertificate:     "no_certificate",
	tlsClientCertificate: "client_certificate",
	tlsAlert:             "alert",
	tlsGone:              "gone",
	tlsUnfinished:        "unfinished",
	tlsOther:             "other",
}

// String is the label in counters and logs.
func (r tlsRefusal) String() string { return tlsRefusalLabels[r] }

// tlsWords are what crypto/tls says where it has no type of error
// (TestHandshakesThatFailAreCountedByReason).
var tlsWords = []struct {
	words string
	means tlsRefusal
}{
	{"unsupported versions", tlsVersion},
	{"unsupported SSLv2", tlsVersion},
	{"unsupported application protocols", tlsProtocol},
	{"no cipher suite supported by both", tlsCipher},
	{"didn't provide a certificate", tlsClientCertificate},
}

// refusalOf finds the reason in the error of a handshake.
func refusalOf(err error) tlsRefusal {
	var record tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &record) && record.Conn != nil:
		return tlsNotTLS
	case errors.As(err, &verification):
		return tlsClientCertificate
	case errors.Is(err, certs.ErrNoCertificate):
		return tlsNoCertificate
	case errors.As(err, &op) && op.Op == "remote error":
		return tlsAlert
	case isEnd(err):
		return tlsGone
	}
	for _, row := range tlsWords {
		if strings.Contains(err.Error(), row.words) {
			return row.means
		}
	}
	return tlsOther
}

// TLSStats are the figures of the server's TLS. Totals count since New.
type TLSStats struct {
	Handshakes uint64 // that were completed
	Resumed    uint64 // of these, how many took up a former session
	// Refused counts those that came to nothing, by every reason there is, such as
	// "not_tls" or "client_certificate".
	Refused map[string]uint64
	// Certificates are the figures of the files.
	Certificates certs.Stats
}

// tlsCounts are what handshakes count.
type tlsCounts struct {
	done, resumed atomic.Uint64
	refused       [tlsRefusals]atomic.Uint64
}

// tlsStats is nil for a server that speaks plainly.
func (s *Server) tlsStats() *TLSStats {
	store := s.certs.Load()
	if store == nil {
		return nil
	}
	st := &TLSStats{
		Handshakes:   s.tls.done.Load(),
		Resumed:      s.tls.resumed.Load(),
		Refused:      make(map[string]uint64),
		Certificates: store.Stats(),
	}
	for why := range s.tls.refused {
		st.Refused[tlsRefusal(why).String()] = s.tls.refused[why].Load()
	}
	return st
}

// openCerts reads the files that the options name; nil when they name none.
func (s *Server) openCerts(o TLSOptions) (*certs.Store, error) {
	if !o.Enabled() {
		return nil, nil
	}
	store, err := certs.Open(o, s.log)
	if err != nil {
		return nil, underTLS(err)
	}
	return store, nil
}

// changeTLS puts other options into force, for new connections.
func (s *Server) changeTLS(o TLSOptions) error {
	store := s.certs.Load()
	switch {
	case store != nil && reflect.DeepEqual(store.Options(), o):
	case store != nil && o.Enabled():
		return underTLS(store.Apply(o))
	default:
		store, err := s.openCerts(o)
		if err != nil {
			return err
		}
		s.certs.Store(store)
	}
	return nil
}

// underTLS gives each of the joined errors of package certs its whole key.
func underTLS(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range many.Unwrap() {
			errs = append(errs, underTLS(e))
		}
		return errors.Join(errs...)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("server.tls.%w", err)
}

// ReloadCertificates reads the files of Options.Server.TLS again and reports
// whether new connections see a difference. Open ones stay as they are. An error
// leaves the old files in force; each of those joined begins with its key.
//
// Any goroutine.
func (s *Server) ReloadCertificates() (changed bool, err error) {
	store := s.certs.Load()
	if store == nil {
		return false, nil
	}
	changed, err = store.Reload()
	return changed, underTLS(err)
}

// secured is sock with TLS over it, when the server speaks that.
func (a *acceptor) secured(sock Socket) Socket {
	if a.plain {
		return sock
	}
	store := a.srv.certs.Load()
	if store == nil {
		return sock
	}
	return newTLSSocket(a.srv, sock, store.Config())
}

// tlsHandshake is what only a handshake needs.
type tlsHandshake struct {
	begun bool          // its goroutine was started
	wake  chan struct{} // capacity 1: the socket may be ready, or nobody waits for the handshake any more
	ctx   context.Context
	stop  context.CancelFunc
}
