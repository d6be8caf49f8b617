package host

import (
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
