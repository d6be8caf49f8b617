package host

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// trustUnix is the entry of ServerOptions.TrustedProxies that stands for peers of
// unix sockets, which have no address.
const trustUnix = "unix"

// Values of ServerOptions.ProxyProtocol and ServerOptions.ForwardedHeader.
const (
	proxyOff     = "off"
	proxyAccept  = "accept"
	proxyRequire = "require"

	forwardedX    = "x-forwarded-for"
	forwardedRFC  = "forwarded"
	forwardedNone = "none"
)

// trust is whose word about other addresses counts.
type trust struct {
	nets []netip.Prefix
	unix bool
}

// newTrust reads entries that checkTrusted has passed.
func newTrust(entries []string) trust {
	var t trust
	for _, e := range entries {
		if e == trustUnix {
			t.unix = true
		} else if p, err := parseTrusted(e); err == nil {
			t.nets = append(t.nets, p)
		}
	}
	return t
}

// parseTrusted reads a network or one address.
func parseTrusted(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8, nor %q", s, trustUnix)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8 or fd00::/8", s)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q: write an IPv4 network as such", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its network; write %s", s, p.Masked())
	}
	return p, nil
}

// has reports whether the peer is one whose word counts.
func (t trust) has(peer netip.Addr) bool {
	if !peer.IsValid() {
		return t.unix
	}
	peer = peer.Unmap().WithZone("")
	for _, n := range t.nets {
		if n.Contains(peer) {
			return true
		}
	}
	return false
}

// client is whom a request comes from, as far as anybody knows for whom the
// server's word counts: from the peer backwards through the header in which each
// proxy has added whom it got the request from, up to the first that is not
// trusted. What stands before that one's entry may be invented.
func (t trust) client(peer netip.AddrPort, r *request, header string) netip.AddrPort {
	if header == forwardedNone || !t.has(peer.Addr()) {
		return peer
	}
	for i := len(r.fields) - 1; i >= 0; i-- {
		if !equalFold(r.fields[i].name, header) {
			continue
		}
		for value := r.fields[i].value; len(value) > 0; {
			if !t.has(peer.Addr()) {
				return peer
			}
			var item []byte
			item, value = cutLast(value)
			if header == forwardedRFC {
				item = forwardedFor(item)
			}
			from, ok := parseNode(item)
			if !ok { // hidden, unknown or broken: whoever told is as near as we get
				return peer
			}
			peer = from
		}
	}
	return peer
}

// cutLast splits the last item off a list of a header field. Commas within quotes
// separate nothing.
func cutLast(list []byte) (item, before []byte) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return bytes.Trim(list[i+1:], " \t"), list[:i]
		}
	}
	return bytes.Trim(list, " \t"), nil
}

// forwardedFor is the parameter "for" of an element of the header Forwarded
// (RFC 7239 §4); empty when there is none, or two.
func forwardedFor(element []byte) (node []byte) {
	found := false
	for pair := range bytes.SplitSeq(element, []byte(";")) {
		name, value, ok := bytes.Cut(bytes.Trim(pair, " \t"), []byte("="))
		if !ok || !equalFold(name, "for") {
			continue
		}
		if found {
			return nil
		}
		found = true
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		node = value
	}
	return node
}

// parseNode reads an address with or without a port: 192.0.2.7, 192.0.2.7:80,
// 2001:db8::7, [2001:db8::7], [2001:db8::7]:80.
func parseNode(p []byte) (netip.AddrPort, bool) {
	const longest = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")
	if len(p) == 0 || len(p) > longest {
		return netip.AddrPort{}, false
	}
	s := string(p)
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			s = inner
			if !strings.Contains(s, ":") {
				return netip.AddrPort{}, false
			}
		}
	}
	node, err := netip.ParseAddrPort(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.AddrPort{}, false
		}
		node = netip.AddrPortFrom(addr, 0)
	}
	if node.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(node.Addr().Unmap(), node.Port()), true
}

// identify settles whose connection it is, from what trusted proxies say of the
// request, and counts it among those of that address; false when there are too
// many.
func (c *Conn) identify(r *request) bool {
	o := c.srv.opts()
	if _, done := c.sock.(*forwarded); !done { // a request that had to wait comes by again
		peer := c.sock.RemoteAddr()
		if client := o.trust.client(peer, r, o.Server.ForwardedHeader); client != peer {
			// Nobody else looks at the socket yet: nothing is to be written, and only
			// who has the lane reads.
			c.sock = &forwarded{Socket: c.sock, client: client}
		}
	}
	return c.srv.countAddress(c, o.Server.MaxConnectionsPerIP)
}

// countAddress counts a connection that is not counted among those of its client
// yet; false when there are too many.
func (s *Server) countAddress(c *Conn, limit int) bool {
	key := limitKey(c.sock.RemoteAddr().Addr())
	if limit == 0 || !key.IsValid() {
		return true
	}
	s.admitMu.Lock()
	defer s.admitMu.Unlock()
	if c.counted {
		return true
	}
	if s.perIP[key] >= limit {
		return false
	}
	s.perIP[key]++
	c.counted = true
	return true
}

// limitKey is what stands for a client where connections of one are counted: an
// IPv6 client has a network of 2^64 addresses to choose from (RFC 6177).
func limitKey(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	return netip.PrefixFrom(addr.WithZone(""), 64).Masked().Addr()
}
