package admin

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/host"
)

var routesOfConnections = []route{
	{method: "GET", path: "/v1/connections", summary: "list the open WebSockets", gives: Conns{}, serve: (*call).connections, query: []parameter{
		{"module", "string", "Those of this module."},
		{"route", "string", "Those of this path, as it is configured."},
		{"topic", "string", "Those that have joined this topic."},
		{"remote", "string", "Those from this address, or network, such as 10.0.0.0/8."},
		afterParameter, limitParameter,
	}},
	{method: "GET", path: "/v1/connections/{id}", summary: "look at a WebSocket", gives: Conn{}, serve: (*call).connection},
	{
		method: "POST", path: "/v1/connections/{id}/messages", summary: "send a message", takes: Message{}, gives: Empty{}, status: http.StatusAccepted,
		asked: "a message to a connection", data: true, serve: (*call).send,
	},
	{
		method: "DELETE", path: "/v1/connections/{id}", summary: "close a WebSocket", gives: Empty{}, status: http.StatusAccepted,
		asked: "the end of a connection", serve: (*call).closeConn, query: []parameter{
			{"code", "integer", "The close code (RFC 6455, section 7.4.1): 1000, 1001, 1008, 1011 to 1013, or 3000 to 4999; 1000 if it is not given."},
			{"reason", "string", "What the peer is told, at most 123 bytes."},
		},
	},
}

// maxPage is how much of a list is given at once.
const maxPage = 1000

func (c *call) connections() error {
	f := host.ConnFilter{Module: c.q.Get("module"), Route: c.q.Get("route"), Topic: c.q.Get("topic")}
	var errs [3]error
	f.Remote, errs[0] = c.prefix("remote")
	f.After, errs[1] = c.id("after")
	f.Limit, errs[2] = c.number("limit", 1, maxPage, 100)
	if err := firstOf(errs[:]); err != nil {
		return err
	}
	if f.Module != "" && c.s.Server.Generations(f.Module) == nil {
		return unknownModule(f.Module)
	}
	found, more := c.s.Server.Connections(f)
	page := Conns{Connections: make([]Conn, len(found))}
	for i, info := range found {
		page.Connections[i] = connOf(info)
	}
	if more && len(found) > 0 {
		page.Next = strconv.FormatUint(found[len(found)-1].ID, 10)
	}
	answer(c.w, 200, page)
	return nil
}

// firstOf is the first error that is one.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func connOf(info host.ConnInfo) Conn {
	conn := Conn{
		ID: ConnID(info.ID), Module: info.Module, Route: info.Route, Generation: info.Generation,
		Path: printable(info.Path), Query: printable(info.Query), Protocol: info.Protocol, Key: printable(info.Key), Topics: info.Topics,
		StateBytes: info.StateBytes, QueuedBytes: info.QueuedBytes, Closing: info.Closing,
	}
	if info.Remote.IsValid() {
		conn.Remote = info.Remote.String()
	}
	if conn.Topics == nil {
		conn.Topics = []string{}
	}
	if info.OpenedAt != 0 {
		conn.OpenedAt = time.UnixMilli(info.OpenedAt).UTC()
	}
	return conn
}

// printable is a text from a peer as JSON carries it.
func printable(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// connID is the id in the path.
func (c *call) connID() (uint64, error) {
	id, err := strconv.ParseUint(c.r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, problem(CodeUnknownConnection, quoted(c.r.PathValue("id"))+" is no connection's id")
	}
	return id, nil
}

// ofConn puts the id into the words of an error.
func ofConn(id uint64, err error) error {
	if errors.Is(err, host.ErrUnknownConn) {
		return problem(CodeUnknownConnection, "no connection "+strconv.FormatUint(id, 10)+" is open")
	}
	return err
}

func (c *call) connection() error {
	id, err := c.connID()
	if err != nil {
		return err
	}
	info, err := c.s.Server.Connection(id)
	if err != nil {
		return ofConn(id, err)
	}
	answer(c.w, 200, connOf(info))
	return nil
}

func (c *call) send() error {
	id, err := c.connID()
	if err != nil {
		return err
	}
	var m Message
	if err := c.body(&m); err != nil {
		return err
	}
	binary, p, err := message(m.Text, m.Base64)
	if err != nil {
		return err
	}
	if err := c.s.Server.SendTo(id, binary, p); err != nil {
		return ofConn(id, err)
	}
	answer(c.w, http.StatusAccepted, Empty{})
	return nil
}

func (c *call) closeConn() error {
	id, err := c.connID()
	if err != nil {
		return err
	}
	code, err := c.number("code", 1000, 4999, 1000)
	if err != nil {
		return err
	}
	if err := c.s.Server.CloseConn(id, code, c.q.Get("reason")); err != nil {
		return ofConn(id, err)
	}
	answer(c.w, http.StatusAccepted, Empty{})
	return nil
}
