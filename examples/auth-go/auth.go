// Auth lets in who shows a token, and agrees on a subprotocol.
package main

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	weir "weir/guest-sdk/go"
)

// tokens maps what a client shows to the name of who it is. Every instance is told in its Init.
var tokens map[string]string

// protocols are those that we speak, the best first.
var protocols = []string{"notes.v2", "notes.v1"}

func init() {
	weir.Handle(weir.Handler{Init: configure, Upgrade: upgrade, Open: open})
}

// configure reads {"tokens": {"TOKEN": "NAME"}}. Without tokens there is one for trying out.
func configure(config []byte) error {
	var c struct{ Tokens map[string]string }
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	switch {
	case c.Tokens == nil:
		weir.Log(weir.LevelWarn, `no tokens are configured: "open-sesame" lets everybody in`)
		c.Tokens = map[string]string{"open-sesame": "guest"}
	case len(c.Tokens) == 0:
		return errors.New("the list of tokens is empty: nobody could connect")
	}
	tokens = c.Tokens
	return nil
}

func upgrade(u *weir.Upgrade) error {
	name := who(u)
	if name == "" {
		return errors.Join(u.AddHeader("WWW-Authenticate", `Bearer realm="notes"`), weir.Reject(401))
	}
	if offered := u.Protocols(); len(offered) > 0 {
		i := slices.IndexFunc(protocols, func(p string) bool { return slices.Contains(offered, p) })
		if i < 0 {
			return weir.Reject(400) // we have no protocol in common
		}
		if err := u.SetProtocol(protocols[i]); err != nil {
			return err
		}
	}
	return u.SetState([]byte(name)) // for the events to come
}

// who returns the name that belongs to the token of a request, empty if it has no good one. Programs send a header;
// browsers cannot, so a query parameter is as good. Keep such a token short-lived: URLs end up in logs.
func who(u *weir.Upgrade) string {
	shown, ok := strings.CutPrefix(u.Header("Authorization"), "Bearer ")
	if !ok {
		shown = u.Query("token")
	}
	found := ""
	for token, name := range tokens { // all of them, so that the time it takes says nothing about a near miss
		if subtle.ConstantTimeCompare([]byte(shown), []byte(token)) == 1 {
			found = name
		}
	}
	return found
}

func open(c weir.Conn) error {
	return c.SendText(fmt.Sprintf("hello %s, protocol %q", c.State(), c.Protocol()))
}

func main() {}
