package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
)

// The PROXY protocol, versions 1 and 2: a header before everything else by which
// a load balancer says whom it speaks for
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).

var (
	// errNoProxyHeader is a stream that begins with something else.
	errNoProxyHeader = errors.New("host: no PROXY header")
	// errProxyHeader is a header that the protocol does not allow, or none where
	// one must be.
	errProxyHeader = errors.New("host: malformed PROXY header")
)

const (
	// maxProxyV1Bytes is the longest header of version 1 (§2.1).
	maxProxyV1Bytes = 107
	// maxProxyV2Bytes bounds what follows the fixed part of a header of version 2.
	// The addresses take at most 216 bytes; the rest are extensions, of which the
	// largest are what a balancer says of a client's certificate.
	maxProxyV2Bytes = 4 << 10

	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed     = len(proxyV2Signature) + 4 // version and command, family, length
	proxyV1Prefix    = "PROXY "
)

// parseProxyHeader reads the header that begins p and how long it is; 0 while it
// is not whole. client is whom it names: the zero value when the balancer speaks
// for itself or does not tell (LOCAL, UNKNOWN, UNSPEC, unix sockets). It takes no
// more than the specification lets a sender write.
func parseProxyHeader(p []byte) (client netip.AddrPort, headerBytes int, err error) {
	switch {
	case hasBegun(p, proxyV2Signature):
		return parseProxyV2(p)
	case hasBegun(p, proxyV1Prefix):
		return parseProxyV1(p)
	default:
		return client, 0, errNoProxyHeader
	}
}

// hasBegun reports whether p begins with mark as far as it goes.
func hasBegun(p []byte, mark string) bool {
	n := min(len(p), len(mark))
	return string(p[:n]) == mark[:n]
}

func parseProxyV1(p []byte) (client netip.AddrPort, headerBytes int, err error) {
	end := bytes.IndexByte(p[:min(len(p), maxProxyV1Bytes)], '\n')
	if end < 0 {
		if len(p) >= maxProxyV1Bytes || bytes.IndexByte(p[:max(len(p)-1, 0)], '\r') >= 0 {
			return client, 0, errProxyHeader
		}
		return client, 0, nil
	}
	if p[end-1] != '\r' {
		return client, 0, errProxyHeader
	}
	line := p[len(proxyV1Prefix) : end-1]
	if bytes.IndexByte(line, '\r') >= 0 {
		return client, 0, errProxyHeader
	}
	if string(line) == "UNKNOWN" || bytes.HasPrefix(line, []byte("UNKNOWN ")) {
		return client, end + 1, nil // the rest of the line is to be ignored (§2.1)
	}
	words := bytes.Split(line, []byte(" "))
	if len(words) != 5 {
		return client, 0, errProxyHeader
	}
	family := string(words[0])
	from, ok1 := proxyV1Address(family, words[1], words[3])
	_, ok2 := proxyV1Address(family, words[2], words[4])
	if !ok1 || !ok2 {
		return client, 0, errProxyHeader
	}
	return from, end + 1, nil
}

// proxyV1Address reads an address and a port as version 1 writes them: the only
// family it may be of, no zone, no leading zeros.
func proxyV1Address(family string, address, port []byte) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(string(address))
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, false
	}
	if is4 := family == "TCP4"; is4 != addr.Is4() || !is4 && family != "TCP6" {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(string(port), 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// Families and commands of version 2 (§2.2).
const (
	proxyV2Local = 0x20
	proxyV2Proxy = 0x21

	proxyUnspec     = 0x00
	proxyTCP4       = 0x11
	proxyTCP6       = 0x21
	proxyUnixStream = 0x31
)

// proxyFamilies are those that the specification knows, datagrams included.
var proxyFamilies = [256]bool{
	proxyUnspec: true, proxyTCP4: true, 0x12: true, proxyTCP6: true, 0x22: true, proxyUnixStream: true, 0x32: true,
}

func parseProxyV2(p []byte) (client netip.AddrPort, headerBytes int, err error) {
	command, family, size := byte(proxyV2Local), byte(0), 0
	if n := len(proxyV2Signature); len(p) > n {
		if command = p[n]; command != proxyV2Local && command != proxyV2Proxy {
			return client, 0, errProxyHeader
		}
	}
	if len(p) < proxyV2Fixed {
		return client, 0, nil
	}
	family = p[proxyV2Fixed-3]
	size = int(binary.BigEndian.Uint16(p[proxyV2Fixed-2:]))
	if size > maxProxyV2Bytes {
		return client, 0, errProxyHeader
	}
	headerBytes = proxyV2Fixed + size
	if len(p) < headerBytes {
		return client, 0, nil
	}
	header := p[:headerBytes]
	body := header[proxyV2Fixed:]
	if !proxyFamilies[family] {
		return client, 0, errProxyHeader // to be refused whatever the command (§2.2)
	}
	if command == proxyV2Local || family == proxyUnspec {
		return client, headerBytes, nil // what it carries is to be ignored
	}
	addressBytes := 0
	switch family {
	case proxyTCP4:
		addressBytes = 4 + 4 + 2 + 2
		if len(body) >= addressBytes {
			client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		}
	case proxyTCP6:
		addressBytes = 16 + 16 + 2 + 2
		if len(body) >= addressBytes {
			client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
		}
	case proxyUnixStream:
		addressBytes = 2 * 108
	default: // datagrams do not come here
		return client, 0, errProxyHeader
	}
	if len(body) < addressBytes || !checkProxyExtensions(header, proxyV2Fixed+addressBytes) {
		return netip.AddrPort{}, 0, errProxyHeader
	}
	return client, headerBytes, nil
}

// proxyCRC32C is the type of the extension that holds a checksum of the whole
// header, itself counted as zero (§2.2.3).
const proxyCRC32C = 0x03

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkProxyExtensions walks the extensions (type, length, value) that begin at
// header[from:], and holds the checksum, if there is one, against the header.
func checkProxyExtensions(header []byte, from int) bool {
	for from < len(header) {
		if len(header)-from < 3 {
			return false
		}
		kind, size := header[from], int(binary.BigEndian.Uint16(header[from+1:]))
		from += 3
		if size > len(header)-from {
			return false
		}
		if kind == proxyCRC32C {
			if size != 4 {
				return false
			}
			sum := crc32.Update(0, castagnoli, header[:from])
			sum = crc32.Update(sum, castagnoli, make([]byte, 4))
			sum = crc32.Update(sum, castagnoli, header[from+4:])
			if sum != binary.BigEndian.Uint32(header[from:]) {
				return false
			}
		}
		from += size
	}
	return true
}
