package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"weir/bench/internal/proc"
)

// pair is a certificate for 127.0.0.1, in files, and who trusts it.
type pair struct {
	cert, key string
	pool      *x509.CertPool
}

func makePair(dir string) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &pair{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	p.pool.AddCert(leaf)
	return p, errors.Join(
		os.WriteFile(p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	)
}

// stampBytes of a message name its connection and number.
const stampBytes = 16

// client is one connection: a goroutine that sends a message when the last came
// back.
type client struct {
	conn    *tls.Conn
	r       *bufio.Reader
	out     []byte // a masked frame
	payload []byte // of it
	head    []byte // of the reply
	in      []byte
	seq     uint64
}

var mask = [4]byte{0x12, 0x34, 0x56, 0x78}

// open connects and upgrades.
func open(ctx context.Context, address string, pool *x509.CertPool, id, size int) (*client, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+id%8))}} // one address has too few ports for many runs
	tcp, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(tcp, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 4096)}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", address)
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(c.r, nil); err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("the upgrade was answered %s", resp.Status)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.payload = bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	binary.BigEndian.PutUint64(c.payload, uint64(id))
	c.head = []byte{0x82, byte(size)}
	c.out = []byte{0x82, 0x80 | byte(size)}
	if size > 125 {
		c.head = []byte{0x82, 126, byte(size >> 8), byte(size)}
		c.out = []byte{0x82, 0x80 | 126, byte(size >> 8), byte(size)}
	}
	c.out = append(c.out, mask[:]...)
	c.out = append(c.out, make([]byte, size)...)
	c.in = make([]byte, len(c.head)+size)
	return c, nil
}

// echo sends a message and waits for its return.
func (c *client) echo() error {
	c.seq++
	binary.BigEndian.PutUint64(c.payload[8:], c.seq)
	body := c.out[len(c.out)-len(c.payload):]
	for i, b := range c.payload {
		body[i] = b ^ mask[i&3]
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.r, c.in); err != nil {
		return err
	}
	if !bytes.HasPrefix(c.in, c.head) || !bytes.Equal(c.in[len(c.head):], c.payload) {
		return fmt.Errorf("message %d came back as another", c.seq)
	}
	return nil
}

// openAll opens n connections, a few at a time.
func openAll(ctx context.Context, address string, pool *x509.CertPool, n, size int) ([]*client, error) {
	clients, errs := make([]*client, n), make([]error, n)
	places := make(chan struct{}, 32) // handshakes at a time
	var wg sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			clients[i], errs[i] = open(ctx, address, pool, i, size)
			<-places
		})
	}
	wg.Wait()
	return clients, errors.Join(errs...)
}

func closeAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			_ = c.conn.NetConn().Close()
		}
	}
}

// echo plays the closed loop and returns how many messages came back in the
// measured time.
func echo(ctx context.Context, address string, pool *x509.CertPool, o options, m *proc.Meter) (messages uint64, elapsed time.Duration, err error) {
	clients, err := openAll(ctx, address, pool, o.conns, o.bytes)
	defer closeAll(clients)
	if err != nil {
		return 0, 0, err
	}
	var n atomic.Uint64
	var stop atomic.Bool
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for !stop.Load() && errs[i] == nil {
				errs[i] = c.echo()
				n.Add(1)
			}
		})
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	pause(o.warmup)
	err = m.Begin()
	first, start := n.Load(), time.Now()
	pause(o.measure)
	messages, elapsed = n.Load()-first, time.Since(start)
	err = errors.Join(err, m.End(), ctx.Err())
	stop.Store(true)
	if ctx.Err() != nil {
		closeAll(clients)
	}
	wg.Wait()
	return messages, elapsed, errors.Join(append(errs, err)...)
}

// rest opens connections, lets them rest, has each echo once and rest again, and
// returns how much more the server then held each time than after the first 200,
// which are closed.
func rest(ctx context.Context, address string, pool *x509.CertPool, o options, look func() (int64, error)) (rested, used int64, err error) {
	touch := func(clients []*client) error {
		for _, c := range clients {
			if err := c.echo(); err != nil {
				return err
			}
		}
		return nil
	}
	first, err := openAll(ctx, address, pool, min(200, o.idle), o.bytes)
	if err == nil {
		err = touch(first)
	}
	closeAll(first)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(o.settle)
	before, err := look()
	if err != nil {
		return 0, 0, err
	}
	clients, err := openAll(ctx, address, pool, o.idle, o.bytes)
	defer closeAll(clients)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(o.settle)
	if rested, err = look(); err != nil {
		return 0, 0, err
	}
	if err := touch(clients); err != nil {
		return 0, 0, err
	}
	time.Sleep(o.settle)
	used, err = look()
	return rested - before, used - before, err
}
