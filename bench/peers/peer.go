package peers

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// Peer is one server that can be started by name.
type Peer struct {
	// Name is what the command line and the tables say.
	Name string
	// About is one line for the list of peers.
	About string
	// Raw means that it speaks no WebSocket: every byte comes back as it came.
	Raw bool
	// Publish means that it serves "/publish" (for a raw peer: every
	// connection is a member).
	Publish bool
	// NoEcho means that it serves nothing but publishing, or compressed messages.
	NoEcho bool
	// Deflate means that it compresses, and takes part where that is measured.
	Deflate bool
	// Descriptors is how many file descriptors a connection costs.
	Descriptors int

	start    func(address string) (Server, error)
	startTLS func(address string, config *tls.Config) (Server, error) // nil: it has no TLS
}

// Server is a peer that is listening.
type Server interface {
	// Addr is where it listens.
	Addr() net.Addr
	// Close stops listening, ends every connection, and returns when the
	// server's goroutines have ended.
	Close() error
}

// Start listens on a TCP address such as "127.0.0.1:0" and serves until Close.
func (p Peer) Start(address string) (Server, error) {
	s, err := p.start(address)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", p.Name, address, err)
	}
	return s, nil
}

// StartTLS is Start with TLS, of which config says the certificate.
func (p Peer) StartTLS(address string, config *tls.Config) (Server, error) {
	if p.startTLS == nil {
		return nil, fmt.Errorf("start %s: it has no TLS here", p.Name)
	}
	s, err := p.startTLS(address, config)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", p.Name, address, err)
	}
	return s, nil
}

// All returns every peer, floors first, in the order of the tables.
func All() []Peer {
	return []Peer{
		{Name: "raw", About: "floor: one epoll loop that sends back the bytes it read; no WebSocket", Raw: true, Descriptors: 1, start: startRawEcho},
		{Name: "raw-publish", About: "floor: one epoll loop that sends the bytes it read to every connection; no WebSocket", Raw: true, Publish: true, NoEcho: true, Descriptors: 1, start: startRawPublish},
		{Name: "gorilla", About: "gorilla/websocket, a goroutine per connection; prepared messages", Publish: true, Descriptors: 1, start: startGorilla, startTLS: startGorillaTLS},
		{Name: "gws", About: "lxzan/gws, event handler; broadcaster", Publish: true, Descriptors: 1, start: startGWS},
		{Name: "gws-deflate", About: "gws with permessage-deflate, level 1, without takeover", Deflate: true, NoEcho: true, Descriptors: 1, start: startGWSDeflate},
		{Name: "coder", About: "coder/websocket, a goroutine per connection", Descriptors: 1, start: startCoder},
		{Name: "gobwas", About: "gobwas/ws, a goroutine per connection", Descriptors: 1, start: startGobwas},
		{Name: "article1", About: "the first article: easygo netpoll, one-shot, closure pool, gobwas/ws", Descriptors: 2, start: startArticle1},
		{Name: "article2-sync", About: "the second article: gorilla, read and write in turn", Descriptors: 1, start: startArticle2Sync},
		{Name: "article2-channel", About: "the second article: gorilla, a reader and a writer goroutine and a channel", Descriptors: 1, start: startArticle2Channel},
		{Name: "article2-netpoll", About: "the second article: gorilla over cloudwego/netpoll", Descriptors: 1, start: startArticle2Netpoll},
	}
}

// Find returns the peer of that name.
func Find(name string) (Peer, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Peer{}, fmt.Errorf("no peer is called %q (there are %s)", name, strings.Join(names, ", "))
}
