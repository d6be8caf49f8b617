package host

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTheClientIsTheLastWhomNoTrustedProxyVouchesFor(t *testing.T) {
	trusted := newTrust([]string{"10.0.0.0/8", "192.0.2.1", "fd00::/8", "unix"})
	for _, tc := range []struct {
		name, peer, header string
		fields             []string
		want               string
	}{
		{"a stranger's header is ignored", "198.51.100.9:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4"}, "198.51.100.9:7"},
		{"a proxy's header counts", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4"}, "1.2.3.4:0"},
		{"its name has no case", "10.0.0.1:7", forwardedX, []string{"x-forwarded-FOR: 1.2.3.4"}, "1.2.3.4:0"},
		{"what the client has invented is ignored", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 9.9.9.9, 1.2.3.4"}, "1.2.3.4:0"},
		{"proxies are passed over", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 9.9.9.9, 1.2.3.4, 10.1.1.1,192.0.2.1"}, "1.2.3.4:0"},
		{"several fields are one list", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 10.1.1.1"}, "1.2.3.4:0"},
		{"only proxies: the first of them", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"no header", "10.0.0.1:7", forwardedX, nil, "10.0.0.1:7"},
		{"an empty header", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: "}, "10.0.0.1:7"},
		{"an unknown client", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: unknown"}, "10.0.0.1:7"},
		{"an unknown one behind a proxy", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4, hidden, 10.0.0.2"}, "10.0.0.2:0"},
		{"an empty item", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4,, 10.0.0.2"}, "10.0.0.2:0"},
		{"a port", "10.0.0.1:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4:5678"}, "1.2.3.4:5678"},
		{"IPv6", "[fd00::1]:7", forwardedX, []string{"X-Forwarded-For: 2001:db8::7"}, "[2001:db8::7]:0"},
		{"IPv6 in brackets", "[fd00::1]:7", forwardedX, []string{"X-Forwarded-For: [2001:db8::7]"}, "[2001:db8::7]:0"},
		{"IPv6 with a port", "[fd00::1]:7", forwardedX, []string{"X-Forwarded-For: [2001:db8::7]:80"}, "[2001:db8::7]:80"},
		{"a proxy in IPv6 form is passed over too", "[::ffff:10.0.0.1]:7", forwardedX, []string{"X-Forwarded-For: 1.2.3.4, ::ffff:10.1.1.1"}, "1.2.3.4:0"},
		{"a unix socket", "", forwardedX, []string{"X-Forwarded-For: 1.2.3.4"}, "1.2.3.4:0"},
		{"the other header is ignored", "10.0.0.1:7", forwardedX, []string{"Forwarded: for=1.2.3.4"}, "10.0.0.1:7"},
		{"no header is asked for", "10.0.0.1:7", forwardedNone, []string{"X-Forwarded-For: 1.2.3.4"}, "10.0.0.1:7"},
		{"RFC 7239", "10.0.0.1:7", forwardedRFC, []string{`Forwarded: for=9.9.9.9, by=x;FOR="[2001:db8::7]:80";proto=https, for=10.0.0.2`}, "[2001:db8::7]:80"},
		{"RFC 7239, a comma in quotes", "10.0.0.1:7", forwardedRFC, []string{`Forwarded: for=1.2.3.4;host="a, for=6.6.6.6"`}, "1.2.3.4:0"},
		{"RFC 7239, hidden", "10.0.0.1:7", forwardedRFC, []string{`Forwarded: for=1.2.3.4, for=_hidden, for=10.0.0.2`}, "10.0.0.2:0"},
		{"RFC 7239, no for", "10.0.0.1:7", forwardedRFC, []string{`Forwarded: for=1.2.3.4, proto=https`}, "10.0.0.1:7"},
		{"RFC 7239, two fors", "10.0.0.1:7", forwardedRFC, []string{`Forwarded: for=1.2.3.4;for=4.3.2.1`}, "10.0.0.1:7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			head := strings.Join(append([]string{"GET / HTTP/1.1", "Host: test"}, tc.fields...), "\r\n") + "\r\n\r\n"
			var r request
			if status := r.parse([]byte(head), 100, 64); status != 0 {
				t.Fatalf("the request is refused with %d", status)
			}
			peer, _ := netip.ParseAddrPort(tc.peer)
			want := netip.MustParseAddrPort(tc.want)
			if got := trusted.client(peer, &r, tc.header); got != want {
				t.Errorf("the client is %v, want %v", got, want)
			}
		})
	}
}

func TestTrustedProxiesAreNetworksOrAddresses(t *testing.T) {
	for entry, want := range map[string]string{
		"10.0.0.0/8": "", "10.1.2.3": "", "fd00::/8": "", "::1": "", "unix": "",
		"10.1.2.3/8": "10.0.0.0/8", "10.0.0.0/33": "not a network", "proxy.example": "neither", "": "neither",
		"fe80::1%eth0": "neither", "::ffff:10.0.0.0/104": "IPv4 network",
	} {
		o := Options{Server: ServerOptions{TrustedProxies: []string{entry}}}
		err := o.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", entry, err, want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"1.2.3.4", `for="[::1]:80";by=x, for=_a`, `"`, ", ,", "for=;for=", "[1.2.3.4]", "[::1", "1.2.3.4:", strings.Repeat(",", 300)} {
		f.Add(s)
	}
	trusted := newTrust([]string{"0.0.0.0/0"})
	f.Fuzz(func(t *testing.T, value string) {
		for _, header := range []string{forwardedX, forwardedRFC} {
			r := request{fields: []field{{[]byte(header), []byte(value)}}}
			got := trusted.client(netip.MustParseAddrPort("10.0.0.1:7"), &r, header)
			if !got.Addr().IsValid() || got.Addr().Zone() != "" || got.Addr().Is4In6() {
				t.Errorf("%q names %v", value, got)
			}
		}
	})
}
