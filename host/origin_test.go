package host

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatIsPlainlyOfTheSameHostIsAllowed(t *testing.T) {
	for _, o := range []origins{newOrigins(nil), newOrigins([]string{"*"}), newOrigins([]string{"https://a.example"})} {
		rapid.Check(t, func(t *rapid.T) {
			host := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9._~:@/?#%\[\]-]{0,12}`), rapid.StringMatching(`[a-z.]{1,8}(:[0-9]{0,6})?`)).Draw(t, "host")
			origin := rapid.SampledFrom([]string{"https://", "http://", "ws://", "", "HTTPS://"}).Draw(t, "scheme") +
				rapid.SampledFrom([]string{host, host + "x", "x"}).Draw(t, "from")
			if o.plainlySame([]byte(origin), []byte(host)) && !o.allow(origin, host) {
				t.Fatalf("a page of %q is taken for one of %q", origin, host)
			}
		})
	}
	o := newOrigins(nil)
	for _, host := range []string{"chat.example.com", "localhost:8080", "127.0.0.1:9000", "a_b"} {
		if !o.plainlySame([]byte("https://"+host), []byte(host)) {
			t.Errorf("%q is not plainly the same", host)
		}
	}
}

// sameSite is what "of the same host and port" means, in as few words.
func sameSite(origin, host string) bool {
	lower := strings.ToLower(origin)
	from, port := "", ""
	switch {
	case strings.HasPrefix(lower, "https://"):
		from, port = lower[len("https://"):], ":443"
	case strings.HasPrefix(lower, "http://"):
		from, port = lower[len("http://"):], ":80"
	default:
		return false
	}
	full := func(host string) string {
		if ports := regexp.MustCompile(`:[0-9]*$`); ports.MatchString(host) {
			return host
		}
		return host + port
	}
	return !strings.ContainsAny(from, "/?#@\\%\"<> \t") && full(from) == full(strings.ToLower(host))
}

func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{
		"", "null", "https://app.example.com", "HTTP://App.Example.Com:80", "https://app.example.com:443", "https://app.example.com.", "https://me@app.example.com",
		"https://app.example.com/", "https://app.example.com?", "https://app.example.com:", "https://[::1]:8080", "https://[::1", "http://a%41", "https:app.example.com", "https://app.example.com\u212A",
	} {
		for _, host := range []string{"app.example.com", "app.example.com:80", "[::1]:8080", "a%41"} {
			f.Add(origin, host)
		}
	}
	same, listed := newOrigins(nil), newOrigins([]string{"https://app.example.com", "http://localhost:3000"})
	f.Fuzz(func(t *testing.T, origin, host string) {
		if origin == "" || !validHost([]byte(host)) { // of no page; refused before
			return
		}
		if (same.plainlySame([]byte(origin), []byte(host)) || same.allow(origin, host)) && !sameSite(origin, host) {
			t.Fatalf("a page of %q is taken for one of %q", origin, host)
		}
		if listed.plainlySame([]byte(origin), []byte(host)) || listed.allow(origin, host) && !sameSite(origin, "app.example.com:443") && !sameSite(origin, "localhost:3000") {
			t.Fatalf("a page of %q is taken for one of the list", origin)
		}
	})
}
