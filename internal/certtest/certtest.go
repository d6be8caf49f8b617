// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	t    testing.TB
	pair tls.Certificate
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.pair = a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// Pool is what a peer that trusts the authority has.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.pair.Leaf)
	return pool
}

// Issue makes a certificate for 127.0.0.1, localhost and chat.example.com, for
// servers and clients, whose subject is name.
func (a *Authority) Issue(name string) tls.Certificate {
	return a.IssueUntil(name, time.Now().Add(time.Hour))
}

// IssueUntil is Issue with an end.
func (a *Authority) IssueUntil(name string, notAfter time.Time) tls.Certificate {
	a.t.Helper()
	return a.make(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotAfter:    notAfter,
		DNSNames:    []string{"localhost", "chat.example.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// make signs template, by itself when there is no authority yet.
func (a *Authority) make(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent, signer := template, any(key)
	if a.pair.Leaf != nil {
		parent, signer = a.pair.Leaf, a.pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Write writes a certificate and its key to folder/cert.pem and folder/key.pem.
func Write(t testing.TB, folder string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	write(t, cert, "CERTIFICATE", pair.Certificate[0], 0o644)
	write(t, key, "PRIVATE KEY", der, 0o600)
	return cert, key
}

// WriteCA writes the authority's certificate to folder/ca.pem.
func (a *Authority) WriteCA(folder string) (file string) {
	a.t.Helper()
	file = filepath.Join(folder, "ca.pem")
	write(a.t, file, "CERTIFICATE", a.pair.Certificate[0], 0o644)
	return file
}

func write(t testing.TB, name, kind string, der []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		t.Fatal(err)
	}
}
