package admin

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"weir/host"
)

var routesOfTail = []route{
	{method: "GET", path: "/v1/tail", summary: "what happens to the connections, as it happens", gives: TailEvent{}, lines: true, serve: (*call).tail, query: []parameter{
		{"module", "string", "What this module is given and does."},
		{"route", "string", "What happens on this path, as it is configured."},
		{"conn", "string", "What happens to the connection of this id."},
		{"remote", "string", "What happens to connections from this address, or network, such as 10.0.0.0/8."},
		{"kinds", "string", "Of these kinds, with commas: message, send, publish, open, close, failure."},
		{"sample", "integer", "One of so many messages, sends and publishes; the other kinds are told always. 1 if it is not given."},
		{"payload", "integer", "So many bytes of each payload, at most 4096; none if it is not given."},
	}},
}

const maxSample = 1_000_000_000

// tail answers with events, and with a line each second that tells how many were
// dropped, by which a reader knows that the server lives.
func (c *call) tail() error {
	o := host.TailOptions{Module: c.q.Get("module"), Route: c.q.Get("route")}
	var errs [4]error
	o.Conn, errs[0] = c.id("conn")
	o.Remote, errs[1] = c.prefix("remote")
	o.Sample, errs[2] = c.number("sample", 1, maxSample, 1)
	o.Payload, errs[3] = c.number("payload", 0, 4096, 0)
	if err := firstOf(errs[:]); err != nil {
		return err
	}
	if kinds := c.q.Get("kinds"); kinds != "" {
		o.Kinds = strings.Split(kinds, ",")
	}
	t, err := c.s.Server.Tail(o)
	if err != nil {
		return ofModule(o.Module, err)
	}
	defer t.Close()
	s := c.stream()
	defer s.end()
	tell := func(now time.Time) {
		s.value(TailEvent{Time: now.UTC(), Kind: "status", Dropped: t.Dropped()})
		s.flush()
	}
	tell(time.Now()) // from here on nothing is missed
	for s.open() {
		second, cancel := context.WithTimeout(s.ctx, statusEvery)
		err := c.events(second, s, t)
		cancel()
		if errors.Is(err, host.ErrTailClosed) {
			tell(time.Now())
			return nil
		}
		if s.open() {
			tell(time.Now())
		}
	}
	return nil
}

// events writes what there is until ctx ends.
func (c *call) events(ctx context.Context, s *stream, t *host.Tail) error {
	for s.open() && ctx.Err() == nil {
		ev, err := t.Next(ctx)
		if err != nil {
			return err
		}
		s.value(tailEventOf(ev))
		if t.Pending() == 0 {
			s.flush()
		}
	}
	return nil
}

func tailEventOf(ev host.TailEvent) TailEvent {
	told := TailEvent{
		Time: time.UnixMilli(ev.Time).UTC(), Kind: ev.Kind, Conn: ConnID(ev.Conn), Module: ev.Module, Route: ev.Route, Generation: ev.Generation,
		Path: printable(ev.Path), Topic: ev.Topic, Receivers: ev.Receivers, Size: ev.Size, Binary: ev.Binary,
		Code: ev.Code, Reason: printable(ev.Reason), Cause: ev.Cause, Error: printable(ev.Error), TookMS: ev.Took.Seconds() * 1e3,
	}
	if ev.Remote.IsValid() {
		told.Remote = ev.Remote.String()
	}
	if text, ok := beginningOfText(ev.Payload); ok && !ev.Binary {
		told.PayloadText = text
	} else if len(ev.Payload) > 0 {
		told.PayloadBase64 = base64.StdEncoding.EncodeToString(ev.Payload)
	}
	return told
}

// beginningOfText is a text that may be cut within its last character.
func beginningOfText(p []byte) (string, bool) {
	for cut := range min(len(p), utf8.UTFMax-1) + 1 {
		begin, end := p[:len(p)-cut], p[len(p)-cut:]
		if utf8.Valid(begin) && (cut == 0 || !utf8.FullRune(end)) {
			return string(begin), true
		}
	}
	return "", false
}
