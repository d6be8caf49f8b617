package main

import (
	"net/http"
	"testing"

	"weir/guest-sdk/go/weirtest"
)

const config = `{"tokens":{"s3cret":"ann"}}`

func TestAGoodTokenOpensTheDoor(t *testing.T) {
	server := weirtest.New(t, weirtest.Options{Config: config})
	server.Open("/?token=s3cret").WantText(`hello ann, protocol ""`)

	ann, response := server.Dial(weirtest.Request{
		Header:    http.Header{"Authorization": {"Bearer s3cret"}},
		Protocols: []string{"notes.v1", "notes.v3", "notes.v2"},
	})
	if response.Protocol != "notes.v2" {
		t.Errorf("protocol %q, want our best, notes.v2", response.Protocol)
	}
	ann.WantText(`hello ann, protocol "notes.v2"`)
}

func TestOthersStayOutside(t *testing.T) {
	server := weirtest.New(t, weirtest.Options{Config: config})
	cases := []struct {
		name    string
		request weirtest.Request
		status  int
	}{
		{"no token", weirtest.Request{}, 401},
		{"an empty token", weirtest.Request{Target: "/?token="}, 401},
		{"a wrong token", weirtest.Request{Target: "/?token=s3cre"}, 401},
		{"a wrong header beside a good parameter",
			weirtest.Request{Target: "/?token=s3cret", Header: http.Header{"Authorization": {"Bearer x"}}}, 401},
		{"no common protocol", weirtest.Request{Target: "/?token=s3cret", Protocols: []string{"notes.v3"}}, 400},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			client, response := server.Dial(tc.request)
			if client != nil || response.Status != tc.status {
				t.Errorf("status %d, want %d", response.Status, tc.status)
			}
			if challenge := response.Header.Get("WWW-Authenticate"); (challenge != "") != (tc.status == 401) {
				t.Errorf("challenge %q with status %d", challenge, response.Status)
			}
		})
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for _, config := range []string{`[`, `{"tokens":7}`, `{"tokens":{}}`} {
		if _, ok := weirtest.Load(t, weirtest.Options{Config: config}); ok {
			t.Errorf("%s was taken", config)
		}
	}
}

func TestWithoutConfigurationThereIsATokenToTry(t *testing.T) {
	weirtest.New(t, weirtest.Options{}).Open("/?token=open-sesame").WantText(`hello guest, protocol ""`)
}
