package host

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxyV2 encodes a header of version 2; extra is what follows the addresses.
func proxyV2(command, family byte, addresses, extra string) string {
	p := []byte(proxyV2Signature)
	p = append(p, command, family)
	p = binary.BigEndian.AppendUint16(p, uint16(len(addresses)+len(extra)))
	return string(p) + addresses + extra
}

const (
	v4Addresses = "\xC0\x00\x02\x07\x0A\x00\x00\x01\xC3\xB3\x01\xBB" // 192.0.2.7:50099 to 10.0.0.1:443
	v6Addresses = "\x20\x01\x0D\xB8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\xFD\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xC3\xB3\x01\xBB"
)

// proxyWithSum is a header with a checksum, off by wrong.
func proxyWithSum(wrong uint32) string {
	p := []byte(proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "\x03\x00\x04\x00\x00\x00\x00"))
	binary.BigEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p, castagnoli)+wrong)
	return string(p)
}

var proxyHeaders = []struct {
	name, header string
	client       string // "" when nobody is named
	err          error
}{
	{"version 1, IPv4", "PROXY TCP4 192.0.2.7 10.0.0.1 50099 443\r\n", "192.0.2.7:50099", nil},
	{"version 1, IPv6", "PROXY TCP6 2001:db8::7 fd00::1 50099 443\r\n", "[2001:db8::7]:50099", nil},
	{"version 1, an IPv4 address in IPv6 form", "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1", nil},
	{"version 1, unknown", "PROXY UNKNOWN\r\n", "", nil},
	{"version 1, unknown with words to ignore", "PROXY UNKNOWN ffff::1 what ever 1\r\n", "", nil},
	{"version 1, no CR", "PROXY TCP4 192.0.2.7 10.0.0.1 50099 443\n", "", errProxyHeader},
	{"version 1, a CR alone", "PROXY TCP4 192.0.2.7\r10.0.0.1 50099 443\r\n", "", errProxyHeader},
	{"version 1, two spaces", "PROXY TCP4  192.0.2.7 10.0.0.1 50099 443\r\n", "", errProxyHeader},
	{"version 1, a word too many", "PROXY TCP4 192.0.2.7 10.0.0.1 50099 443 1\r\n", "", errProxyHeader},
	{"version 1, a word too few", "PROXY TCP4 192.0.2.7 10.0.0.1 50099\r\n", "", errProxyHeader},
	{"version 1, a port too large", "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", "", errProxyHeader},
	{"version 1, a port with a zero before it", "PROXY TCP4 192.0.2.7 10.0.0.1 0443 443\r\n", "", errProxyHeader},
	{"version 1, a port with a sign", "PROXY TCP4 192.0.2.7 10.0.0.1 +443 443\r\n", "", errProxyHeader},
	{"version 1, an empty port", "PROXY TCP4 192.0.2.7 10.0.0.1  443\r\n", "", errProxyHeader},
	{"version 1, an address of the other family", "PROXY TCP4 ::1 ::1 1 1\r\n", "", errProxyHeader},
	{"version 1, an address with a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "", errProxyHeader},
	{"version 1, octal digits", "PROXY TCP4 192.0.2.07 10.0.0.1 1 1\r\n", "", errProxyHeader},
	{"version 1, another family", "PROXY TCP5 192.0.2.7 10.0.0.1 1 1\r\n", "", errProxyHeader},
	{"version 1, 107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", "", nil},
	{"version 1, 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "", errProxyHeader},
	{"version 1, nothing", "PROXY \r\n", "", errProxyHeader},

	{"version 2, IPv4", proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, ""), "192.0.2.7:50099", nil},
	{"version 2, IPv6", proxyV2(proxyV2Proxy, proxyTCP6, v6Addresses, ""), "[2001:db8::7]:50099", nil},
	{"version 2, the balancer itself", proxyV2(proxyV2Local, proxyUnspec, "", ""), "", nil},
	{"version 2, the balancer itself, with addresses to ignore", proxyV2(proxyV2Local, proxyTCP4, v4Addresses, ""), "", nil},
	{"version 2, no family", proxyV2(proxyV2Proxy, proxyUnspec, "whatever", ""), "", nil},
	{"version 2, a unix socket", proxyV2(proxyV2Proxy, proxyUnixStream, strings.Repeat("/", 216), ""), "", nil},
	{"version 2, extensions", proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "\x01\x00\x02h2\x04\x00\x00"), "192.0.2.7:50099", nil},
	{"version 2, a right checksum", proxyWithSum(0), "192.0.2.7:50099", nil},
	{"version 2, a wrong checksum", proxyWithSum(1), "", errProxyHeader},
	{"version 2, an extension that is cut", proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "\x01\x00\x03h2"), "", errProxyHeader},
	{"version 2, an extension without a length", proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "\x01\x00"), "", errProxyHeader},
	{"version 2, too short for its family", proxyV2(proxyV2Proxy, proxyTCP6, v4Addresses, ""), "", errProxyHeader},
	{"version 2, datagrams", proxyV2(proxyV2Proxy, 0x12, v4Addresses, ""), "", errProxyHeader},
	{"version 2, a family that does not exist", proxyV2(proxyV2Local, 0x13, "", ""), "", errProxyHeader},
	{"version 2, another command", proxyV2(0x22, proxyTCP4, v4Addresses, ""), "", errProxyHeader},
	{"version 2, another version", proxyV2(0x11, proxyTCP4, v4Addresses, ""), "", errProxyHeader},
	{"version 2, longer than any header is", proxyV2(proxyV2Local, proxyUnspec, "", strings.Repeat("x", maxProxyV2Bytes+1)), "", errProxyHeader},

	{"a request", upgradeHead, "", errNoProxyHeader},
	{"a request that begins alike", "PROXYING / HTTP/1.1\r\n\r\n", "", errNoProxyHeader},
	{"TLS", "\x16\x03\x01", "", errNoProxyHeader},
}

func TestProxyHeaders(t *testing.T) {
	for _, tc := range proxyHeaders {
		t.Run(tc.name, func(t *testing.T) {
			client, n, err := parseProxyHeader([]byte(tc.header + "GET"))
			if !errors.Is(err, tc.err) {
				t.Fatalf("the error is %v, want %v", err, tc.err)
			}
			if want, _ := netip.ParseAddrPort(tc.client); client != want {
				t.Errorf("it names %v, want %v", client, want)
			}
			if err == nil && n != len(tc.header) {
				t.Errorf("it is %d bytes long, want %d", n, len(tc.header))
			}
			for i := range len(tc.header) { // never an answer before the end, but an error
				if _, n, err := parseProxyHeader([]byte(tc.header[:i])); tc.err == nil && (n != 0 || err != nil) {
					t.Fatalf("of the first %d bytes it says %d, %v", i, n, err)
				}
			}
		})
	}
}

// FuzzProxyHeader holds the parser against pires/go-proxyproto. Where it differs,
// it is for a reason given here.
func FuzzProxyHeader(f *testing.F) {
	for _, tc := range proxyHeaders {
		f.Add([]byte(tc.header))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		client, n, err := parseProxyHeader(p)
		r := bufio.NewReaderSize(bytes.NewReader(p), len(p)+maxProxyV2Bytes)
		theirs, theirErr := proxyproto.Read(r)
		if n > 0 {
			for i := range n {
				if _, early, err := parseProxyHeader(p[:i]); early != 0 || err != nil {
					t.Fatalf("of the first %d bytes it says %d, %v", i, early, err)
				}
			}
			version2 := p[0] == '\r'
			if version2 && p[12] == proxyV2Proxy && p[13] == proxyUnspec {
				return // they refuse it; the specification leaves it open
			}
			if theirErr != nil {
				t.Fatalf("they refuse what we take, %v: %q", theirErr, p[:n])
			}
			if read := len(p) - r.Buffered(); read != n {
				t.Fatalf("they read %d bytes, we %d", read, n)
			}
			addr, isTCP := theirs.SourceAddr.(*net.TCPAddr)
			if !client.IsValid() {
				if isTCP && theirs.Command != proxyproto.LOCAL {
					t.Fatalf("they name %v, we nobody", addr)
				}
				return
			}
			got := addr.AddrPort()
			if got = netip.AddrPortFrom(got.Addr().Unmap(), got.Port()); got != client {
				t.Fatalf("they name %v, we %v", got, client)
			}
			return
		}
		if client.IsValid() {
			t.Fatal("half a header names somebody")
		}
		if theirErr != nil {
			return
		}
		// They take it, and we do not.
		if err == nil {
			t.Fatalf("they need fewer bytes: %q", p)
		}
		switch v2 := p[0] == '\r'; {
		case v2 && (p[13] == 0x12 || p[13] == 0x22 || p[13] == 0x32): // datagrams
		case v2 && !proxyExtensionsAreRight(p): // they look at these only when asked
		case !v2 && bytes.Contains(p[:bytes.IndexByte(p, '\n')-1], []byte("\r")): // a CR in an unknown's words
		default:
			t.Fatalf("they take what we refuse, %v: %q", err, p)
		}
	})
}

// proxyExtensionsAreRight is checkProxyExtensions by another road: their parser.
func proxyExtensionsAreRight(p []byte) bool {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(p), len(p)+maxProxyV2Bytes))
	if err != nil {
		return false
	}
	extensions, err := h.TLVs()
	if err != nil {
		return false
	}
	for _, e := range extensions {
		if e.Type == proxyproto.PP2_TYPE_CRC32C {
			return false // right or wrong: the table tests both
		}
	}
	return true
}
