package admin

import (
	"encoding/json"
	"strconv"
	"time"
)

// The bodies of the API, for the server and for its clients. Their comments and
// tags make openapi.json. Fields may be added; none changes or goes.

// ConnID is a connection's id as handlers and logs know it. In JSON it is a
// string: many programs round numbers that large.
type ConnID uint64

// MarshalText is the decimal number.
func (id ConnID) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(id), 10), nil }

// UnmarshalText reads a decimal number.
func (id *ConnID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	*id = ConnID(n)
	return err
}

// Problem is every answer that is not a success (RFC 9457).
type Problem struct {
	// Always "about:blank".
	Type string `json:"type"`
	// The status in words.
	Title string `json:"title"`
	// The status of the answer.
	Status int `json:"status"`
	// What is wrong, for people.
	Detail string `json:"detail"`
	// What is wrong, for programs.
	Code string `json:"code"`
	// Of "refused" and "older": how far a module came: "signature", "admission", "compile", "start", "self_test" or "init".
	Stage string `json:"stage,omitempty"`
	// Of "refused" and "older": every reason that was found.
	Problems []string `json:"problems,omitempty"`
}

// Error is the detail, so that a client can return a Problem as its error.
func (p *Problem) Error() string { return p.Detail }

// Codes of a Problem.
const (
	CodeInvalid           = "invalid"            // 400
	CodeUnauthorized      = "unauthorized"       // 401
	CodeForbiddenHost     = "forbidden_host"     // 403
	CodeCrossOrigin       = "cross_origin"       // 403
	CodeNotFound          = "not_found"          // 404: nothing has that path
	CodeUnknownModule     = "unknown_module"     // 404
	CodeUnknownConnection = "unknown_connection" // 404
	CodeMethodNotAllowed  = "method_not_allowed" // 405
	CodeConflict          = "conflict"           // 409: somebody else was faster
	CodeOlder             = "older"              // 409: a newer version of the module was loaded before
	CodeNoCanary          = "no_canary"          // 409
	CodeNoPrevious        = "no_previous"        // 409
	CodeShare             = "share"              // 409: a canary's share only grows
	CodeClosing           = "closing"            // 409: the connection is closing
	CodeTooLarge          = "too_large"          // 413
	CodeRefused           = "refused"            // 422
	CodeTooManyRequests   = "too_many_requests"  // 429
	CodeFailed            = "failed"             // 500: weir's own mistake, or a disk that is full
	CodeQueueFull         = "queue_full"         // 503
	CodeUnavailable       = "unavailable"        // 503
)

// Status is what the server is and how it is.
type Status struct {
	// The version of weir.
	Version string `json:"version"`
	// The process.
	PID int `json:"pid"`
	// When it began.
	StartedAt time.Time `json:"started_at"`
	// How long it has run.
	UptimeSeconds float64 `json:"uptime_seconds"`
	// New connections are welcome.
	Ready bool `json:"ready"`
	// It stops, and lets what runs finish.
	Draining bool `json:"draining"`
	// The addresses for clients.
	Listen []string `json:"listen"`
	// Open connections, those of plain HTTP included.
	Connections int `json:"connections"`
	// The modules' names.
	Modules []string `json:"modules"`
	// What came of the configuration's last reload.
	Config Reload `json:"config"`
}

// Reload is what came of reading the configuration again.
type Reload struct {
	// When; the year 1 if it never was.
	Time time.Time `json:"time"`
	// Why it was refused; absent when it was taken.
	Problems []string `json:"problems,omitempty"`
	// Keys that have another value since.
	Changed []string `json:"changed,omitempty"`
	// Keys whose new value waits for a restart.
	Kept []string `json:"kept,omitempty"`
	// Reloads since the start, this one included.
	Count uint64 `json:"count"`
	// How many of them were refused.
	Refused uint64 `json:"refused"`
}

// Config is the configuration in effect.
type Config struct {
	// Every key with its value, as in a configuration file; secrets are "(secret)".
	Config json.RawMessage `json:"config"`
	// What came of the last reload.
	Reload Reload `json:"reload"`
}

// Modules lists the modules.
type Modules struct {
	// By name.
	Modules []Module `json:"modules"`
}

// Module is a handler and its generations.
type Module struct {
	// What routes call it.
	Name string `json:"name"`
	// Its file; empty if it has none.
	Path string `json:"path"`
	// What the current generation was made of: "file", or "api" for an upload that its file does not hold.
	Source string `json:"source"`
	// The current generation.
	Generation uint64 `json:"generation"`
	// The SHA-256 of its code.
	Digest string `json:"digest"`
	// It is given no events.
	Paused bool `json:"paused"`
	// The state of its breaker: "closed", "open" or "half_open".
	Breaker string `json:"breaker"`
	// The paths that lead to it.
	Routes []ModuleRoute `json:"routes"`
	// Open connections of these.
	Connections int64 `json:"connections"`
	// The generation that serves a share of the connections; null if there is none.
	Canary *Canary `json:"canary"`
	// The latest first: those that serve or are kept, and some that are over.
	Generations []Generation `json:"generations"`
	// Of the current generation and the canary.
	Traps uint64 `json:"traps"`
	// What it is granted.
	Capabilities []string `json:"capabilities"`
	// What was refused last; null if nothing was.
	LastRefusal *Refusal `json:"last_refusal"`
}

// ModuleRoute is a path that leads to a module.
type ModuleRoute struct {
	// As it is configured.
	Path string `json:"path"`
	// Which instance serves a connection: "pool", "connection", "key" or "singleton".
	Scope string `json:"scope"`
}

// Canary is a generation that serves a share.
type Canary struct {
	// Its number.
	Generation uint64 `json:"generation"`
	// Of the connections, or of the keys, in percent.
	Share int `json:"share"`
}

// Generation is a loaded version of a module.
type Generation struct {
	// 1, 2, 3 and so on.
	Number uint64 `json:"number"`
	// The SHA-256 of its code.
	Digest string `json:"digest"`
	// "current", "canary", "previous" (kept for a rollback), "retired" or "rolled_back".
	Fate string `json:"fate"`
	// Of "rolled_back": what for.
	Why string `json:"why,omitempty"`
	// When it was loaded.
	LoadedAt time.Time `json:"loaded_at"`
	// Of a canary, in percent.
	Share int `json:"share,omitempty"`
	// Instances of the scopes connection, key and singleton that it has.
	Cells int `json:"cells"`
	// Instances of its pool that are at work.
	Busy int `json:"busy"`
	// What its instances were given.
	Events uint64 `json:"events"`
	// How many of these trapped.
	Traps uint64 `json:"traps"`
}

// Refusal is a version of a module that was not taken.
type Refusal struct {
	// When.
	Time time.Time `json:"time"`
	// The SHA-256 of the file.
	Digest string `json:"digest"`
	// Why.
	Detail string `json:"detail"`
	// How far it came, as in Problem; "read" if its file could not be read.
	Stage string `json:"stage"`
	// Where it came from: "file" or "api".
	Source string `json:"source"`
}

// Deployed is what an upload brought.
type Deployed struct {
	// The new generation.
	Generation uint64 `json:"generation"`
	// The SHA-256 of its code.
	Digest string `json:"digest"`
	// It serves a share only, until it is promoted.
	Canary bool `json:"canary"`
	// From the file's bytes to a generation that is ready.
	LoadMS float64 `json:"load_ms"`
	// How long the switch itself took.
	SwapMS float64 `json:"swap_ms"`
	// The module's file holds it too, so that a restart does not lose it.
	Persisted bool `json:"persisted"`
	// It serves, but its file could not be replaced: why.
	PersistError string `json:"persist_error,omitempty"`
}

// CanaryShare asks for a canary's share.
type CanaryShare struct {
	// Of the connections, or of the keys, in percent; it only grows.
	Percent int `json:"percent"`
}

// Conns is a page of the open WebSockets.
type Conns struct {
	// By id.
	Connections []Conn `json:"connections"`
	// What to give as after for the next page; empty at the end.
	Next string `json:"next"`
}

// Conn is an open WebSocket.
type Conn struct {
	// As handlers and logs know it.
	ID ConnID `json:"id"`
	// Whose it is.
	Module string `json:"module"`
	// The path as it is configured.
	Route string `json:"route"`
	// Which served it last.
	Generation uint64 `json:"generation"`
	// The path that was asked for.
	Path string `json:"path"`
	// What followed it.
	Query string `json:"query"`
	// The subprotocol; empty if there is none.
	Protocol string `json:"protocol"`
	// Who has connected; empty on a unix socket.
	Remote string `json:"remote"`
	// Of the scope key.
	Key string `json:"key"`
	// By name.
	Topics []string `json:"topics"`
	// What the handler keeps with it.
	StateBytes int `json:"state_bytes"`
	// What waits for it to read.
	QueuedBytes int `json:"queued_bytes"`
	// When it came; the year 1 if that is not known.
	OpenedAt time.Time `json:"opened_at"`
	// It is about to end.
	Closing bool `json:"closing"`
}

// Message is what to send: one of the two.
type Message struct {
	// A text message.
	Text *string `json:"text,omitempty"`
	// A binary message.
	Base64 *string `json:"base64,omitempty"`
}

// Empty is the answer that says nothing further.
type Empty struct{}

// Topics is a page of topics.
type Topics struct {
	// By module and name.
	Topics []Topic `json:"topics"`
	// What to give as after for the next page; empty at the end.
	Next string `json:"next"`
}

// Topic is a set of connections.
type Topic struct {
	// Whose it is.
	Module string `json:"module"`
	// Its name.
	Topic string `json:"topic"`
	// How many connections have joined.
	Members int `json:"members"`
}

// Members is a page of a topic's connections.
type Members struct {
	// In order.
	Members []ConnID `json:"members"`
	// What to give as after for the next page; empty at the end.
	Next string `json:"next"`
}

// Publication is what to publish.
type Publication struct {
	// Whose topic.
	Module string `json:"module"`
	// Its name.
	Topic string `json:"topic"`
	// A text message.
	Text *string `json:"text,omitempty"`
	// A binary message.
	Base64 *string `json:"base64,omitempty"`
}

// Published is how far a publication went.
type Published struct {
	// To how many connections.
	Receivers int `json:"receivers"`
}

// TailEvent is a line of /v1/tail.
type TailEvent struct {
	// When.
	Time time.Time `json:"time"`
	// "message", "send", "publish", "open", "close" or "failure"; or "status", a line each second that tells of what was left out.
	Kind string `json:"kind"`
	// Of "status": how many events the reader was too slow for, since the beginning.
	Dropped uint64 `json:"dropped,omitempty"`
	// Whose event it is.
	Conn ConnID `json:"conn,omitempty"`
	// Of the connection.
	Module string `json:"module,omitempty"`
	// The path as it is configured.
	Route string `json:"route,omitempty"`
	// Which handled it.
	Generation uint64 `json:"generation,omitempty"`
	// Who has connected; empty on a unix socket.
	Remote string `json:"remote,omitempty"`
	// Of "open": the path that was asked for.
	Path string `json:"path,omitempty"`
	// Of "publish".
	Topic string `json:"topic,omitempty"`
	// Of "publish": how many it was sent to.
	Receivers int `json:"receivers,omitempty"`
	// Of a message, in bytes.
	Size int `json:"size,omitempty"`
	// Of a message: it is binary.
	Binary bool `json:"binary,omitempty"`
	// The beginning of a text message.
	PayloadText string `json:"payload_text,omitempty"`
	// The beginning of a binary message.
	PayloadBase64 string `json:"payload_base64,omitempty"`
	// Of a close (RFC 6455, section 7.4.1).
	Code int `json:"code,omitempty"`
	// Of a close.
	Reason string `json:"reason,omitempty"`
	// Of a close: what ended the connection, such as "peer_closed".
	Cause string `json:"cause,omitempty"`
	// Of a failure.
	Error string `json:"error,omitempty"`
	// How long the handler took.
	TookMS float64 `json:"took_ms,omitempty"`
}

// LogRecord is a line of /v1/logs. Beside these it has what was logged with the message, such as "module" and "err".
type LogRecord struct {
	// When.
	Time time.Time `json:"time"`
	// "DEBUG", "INFO", "WARN" or "ERROR".
	Level string `json:"level"`
	// What happened.
	Message string `json:"msg"`
	// "status" is a line of its own that tells of what was left out; else absent.
	Kind string `json:"kind,omitempty"`
	// Of "status": how many records the reader was too slow for.
	Dropped uint64 `json:"dropped,omitempty"`
}
