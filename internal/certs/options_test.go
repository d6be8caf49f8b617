package certs

import (
	"strings"
	"testing"
)

func TestMistakesAreNamedByTheirKeys(t *testing.T) {
	pair := func(change func(*Options)) Options {
		o := Options{Cert: "cert.pem", Key: "key.pem"}
		change(&o)
		return o
	}
	auto := func(domains ...string) Options {
		return Options{Autocert: AutocertOptions{Domains: domains, CacheDir: "cache"}}
	}
	for _, tc := range []struct {
		name    string
		options Options
		want    string // beginnings, in order
	}{
		{"none at all", Options{}, ""},
		{"a pair", pair(func(*Options) {}), ""},
		{"a name", auto("chat.example.com"), ""},
		{"a version without TLS, as a template has it", Options{MinVersion: "1.2", ClientAuth: "none"}, ""},
		{"a certificate without a key", Options{Cert: "cert.pem"}, "key: is missing"},
		{"a key without a certificate", Options{Key: "key.pem"}, "cert: is missing"},
		{"clients without authorities", pair(func(o *Options) { o.ClientAuth = "require" }), "client_ca: is missing"},
		{"authorities for nobody", pair(func(o *Options) { o.ClientCA = "ca.pem" }), "client_ca: nobody is asked"},
		{"clients without TLS", Options{ClientAuth: "request", ClientCA: "ca.pem"}, "cert: is missing"},
		{"an unknown word", pair(func(o *Options) { o.ClientAuth = "maybe" }), `client_auth: "maybe" is not one of`},
		{"an old version", pair(func(o *Options) { o.MinVersion = "1.1" }), `min_version: "1.1" is neither`},
		{"two mistakes", Options{Cert: "cert.pem", MinVersion: "3"}, "key: |min_version: "},
		{"a wildcard", auto("a.example.com", "*.example.com"), "autocert.domains[1]: "},
		{"an address", auto("https://example.com"), "autocert.domains[0]: "},
		{"a machine of the local network", auto("chat"), "autocert.domains[0]: "},
		{"no folder", Options{Autocert: AutocertOptions{Domains: []string{"a.example.com"}}}, "autocert.cache_dir: is missing"},
		{"a directory without TLS", Options{Autocert: AutocertOptions{Directory: "http://a"}}, "autocert.directory: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.options.Validate()
			if tc.want == "" {
				check(t, err)
				return
			}
			if err == nil {
				t.Fatal("it is accepted")
			}
			lines := strings.Split(err.Error(), "\n")
			for i, want := range strings.Split(tc.want, "|") {
				if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Errorf("got %q, want line %d to begin with %q", lines, i, want)
				}
			}
		})
	}
}
