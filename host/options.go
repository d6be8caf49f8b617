package host

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"weir/runtime"
)

// Options are the knobs of the server. The zero value of a field means its
// default, so Options{} is a working server; WithDefaults shows what that is.
type Options struct {
	Server    ServerOptions    `koanf:"server" reload:"connections"`
	WebSocket WebSocketOptions `koanf:"websocket" reload:"hot"`
	Handler   HandlerOptions   `koanf:"handler" reload:"hot"`
	Drain     DrainOptions     `koanf:"drain" reload:"hot"`
	// Routes are tried in order; the first whose path matches wins.
	Routes []Route `koanf:"routes" reload:"connections"`
}

// ServerOptions bound who may connect and how a request may look.
type ServerOptions struct {
	// Listen lists the addresses to bind, "host:port" or "unix:/path". ":8080"
	// binds all addresses, "0.0.0.0:8080" those of IPv4, "[::]:8080" those of IPv6.
	// The file of a unix socket is replaced if nobody listens on it. A socket that
	// the supervisor has passed (systemd's socket activation) is used instead of
	// binding its address; "systemd:NAME" stands for those of that
	// FileDescriptorName=, "systemd" for all that are left. Empty means ":8080".
	Listen []string `koanf:"listen" reload:"restart"`
	// TLS says what clients are shown and asked for. Without a certificate the
	// addresses speak plainly; those of unix sockets always do.
	TLS TLSOptions `koanf:"tls"`
	// UnixMode is the permissions of unix sockets' files in octal digits, such as
	// "0660": who may write to one may connect. Empty means what the umask leaves.
	UnixMode string `koanf:"unix_mode" reload:"restart"`
	// ReusePort lets several servers of one user bind the same addresses, among
	// which the system deals the connections (SO_REUSEPORT), as when a new server
	// starts before the old one drains.
	ReusePort bool `koanf:"reuse_port" reload:"restart"`
	// TCPUserTimeout is how long sent bytes may stay unacknowledged before the
	// system breaks the connection (TCP_USER_TIMEOUT); only Linux has it. 0 means
	// PingInterval and PongTimeout together.
	TCPUserTimeout time.Duration `koanf:"tcp_user_timeout" reload:"restart" over:"disconnect"`
	// AllowedOrigins lists the origins (scheme://host[:port]) whose pages may
	// open a WebSocket. Empty allows only pages of the same host and port; "*"
	// allows every page. Requests without an Origin header come from programs,
	// not from pages, and are always allowed.
	AllowedOrigins []string `koanf:"allowed_origins"`
	// MaxConnections bounds open connections; one more is answered 503. 0 means
	// the smaller of 65,536 and what the process may open less 64.
	MaxConnections int `koanf:"max_connections" over:"HTTP 503"`
	// MaxConnectionsPerIP bounds the connections of one address; one more is
	// answered 503. Of IPv6, a network of 64 bits counts as one address. Clients of
	// trusted proxies count by their own. 0 means no bound: many users can share one
	// address.
	MaxConnectionsPerIP int `koanf:"max_connections_per_ip" over:"HTTP 503"`
	// TrustedProxies lists the addresses and networks ("10.0.0.0/8", "::1") of
	// proxies whose word about a client's address counts, and "unix" for peers of
	// unix sockets. What anybody else says of it is ignored. Empty trusts nobody.
	TrustedProxies []string `koanf:"trusted_proxies"`
	// ProxyProtocol says whether connections begin with a PROXY header, version 1
	// or 2, before TLS even: "off" they do not; "accept" those of trusted proxies
	// may; "require" those of trusted proxies do, and nobody else may connect.
	// Empty means "off".
	ProxyProtocol string `koanf:"proxy_protocol" oneof:"off,accept,require"`
	// ForwardedHeader is the request header in which trusted proxies append whom
	// they got a request from: "x-forwarded-for", or "forwarded" (RFC 7239). The
	// last address in it that is not a trusted proxy's is the client's. "none"
	// ignores both. It must be one that every trusted proxy writes, since clients
	// can send either. Empty means "x-forwarded-for".
	ForwardedHeader string `koanf:"forwarded_header" oneof:"x-forwarded-for,forwarded,none"`
	// MaxHandshakes bounds connections that have not finished their request; one
	// more is answered 503. 0 means 1024.
	MaxHandshakes int `koanf:"max_handshakes" over:"HTTP 503"`
	// HandshakeTimeout is the time from accept to a complete request. A slower
	// peer is answered 408. 0 means 5s.
	HandshakeTimeout time.Duration `koanf:"handshake_timeout" over:"HTTP 408"`
	// MaxHeaderSize bounds request line and header fields together; a longer
	// head is answered 431. 0 means 16KiB.
	MaxHeaderSize Size `koanf:"max_header_size" reload:"restart" over:"HTTP 431"`
	// MaxHeaders bounds the number of header fields, range [1, 256]; more are
	// answered 431. 0 means 64.
	MaxHeaders int `koanf:"max_headers" over:"HTTP 431"`
	// MaxURISize bounds the request target; a longer one is answered 414.
	// 0 means 8KiB.
	MaxURISize Size `koanf:"max_uri_size" over:"HTTP 414"`
	// InboundBudget bounds the bytes of incomplete messages over all
	// connections. When it is spent, the connection that asks for more is closed
	// with 1013. 0 means 256MiB, or 15 % of the memory that the process may use if
	// that is less.
	InboundBudget Size `koanf:"inbound_budget" reload:"hot" over:"close 1013"`
	// OutboundBudget bounds the bytes that wait for slow readers over all
	// connections. When it is spent, the connection that would queue more is
	// closed with 1013. 0 means 512MiB, or 25 % of the memory that the process may
	// use if that is less.
	OutboundBudget Size `koanf:"outbound_budget" reload:"hot" over:"close 1013"`
}

// WebSocketOptions bound one connection.
type WebSocketOptions struct {
	// MaxMessageSize bounds one message after reassembly and inflation. A longer
	// one closes the connection with 1009 before the handler sees any of it. Range
	// [1, 64MiB]; 0 means 64KiB.
	MaxMessageSize Size `koanf:"max_message_size" over:"close 1009"`
	// MaxFrameSize bounds the payload of one frame (RFC 6455 §10.4); 1009.
	// 0 means MaxMessageSize.
	MaxFrameSize Size `koanf:"max_frame_size" over:"close 1009"`
	// MaxFragments bounds the frames of one message; one more closes with 1008.
	// 0 means 256.
	MaxFragments int `koanf:"max_fragments" over:"close 1008"`
	// MessageTimeout is the time from the first byte of a message to its last;
	// a slower one closes with 1008. 0 means 30s.
	MessageTimeout time.Duration `koanf:"message_timeout" over:"close 1008"`
	// ControlRate bounds pings and pongs a second of one connection, with a
	// burst of twice as many; more close with 1008. 0 means 100.
	ControlRate int `koanf:"control_rate" over:"close 1008"`
	// InboundRate bounds messages and control frames a second of one connection. Of
	// one that sends more the server reads no more until they fit, so that TCP holds
	// its peer up; what is behind them, a ping too, waits as long. 0 means no bound.
	InboundRate int `koanf:"inbound_rate"`
	// InboundBurst is how many may come at once, and 20 ms' worth more.
	// 0 means twice InboundRate.
	InboundBurst int `koanf:"inbound_burst"`
	// InboundBytes bounds the bytes a second of one connection in the same way, with
	// a burst of twice as many. 0 means no bound.
	InboundBytes Size `koanf:"inbound_bytes"`
	// InboundExcess says what becomes of a connection that sends more: "wait" to
	// be read, or "close" with 1008. Empty means "wait".
	InboundExcess string `koanf:"inbound_excess" oneof:"wait,close"`
	// PingInterval is how long a connection may be silent before the server
	// sends a ping. 0 means 25s.
	PingInterval time.Duration `koanf:"ping_interval"`
	// PongTimeout is how long the server waits for any frame after its ping
	// before it drops the connection. 0 means 10s.
	PongTimeout time.Duration `koanf:"pong_timeout" over:"dropped"`
	// IdleTimeout is how long a connection may go without any frame of the
	// peer, pongs included. 0 means 120s.
	IdleTimeout time.Duration `koanf:"idle_timeout" over:"dropped"`
	// WriteTimeout is how long queued bytes may wait without the peer taking
	// any; then the connection is closed with 1013. What a topic may drop for a slow
	// reader (modules.NAME.topics) does not count. 0 means 10s.
	WriteTimeout time.Duration `koanf:"write_timeout" over:"close 1013"`
	// CloseTimeout is how long the server waits for the peer's answer to its
	// Close frame. 0 means 5s.
	CloseTimeout time.Duration `koanf:"close_timeout" over:"dropped"`
	// OutboundQueueSize bounds the bytes that wait for one slow reader; one more
	// closes it with 1013. 0 means 1MiB.
	OutboundQueueSize Size `koanf:"outbound_queue_size" over:"close 1013"`
	// OutboundQueueMessages bounds the frames that wait for one slow reader, as
	// OutboundQueueSize does. 0 means 1024.
	OutboundQueueMessages int `koanf:"outbound_queue_messages" over:"close 1013"`
	// MaxTopics bounds the topics that one connection may join. 0 means 128.
	MaxTopics int `koanf:"max_topics" over:"host call answers too many"`
	// MaxTimers bounds the timers of one connection. 0 means 64.
	MaxTimers int `koanf:"max_timers" over:"host call answers too many"`
	// Compression says whether messages are compressed where the client offers
	// permessage-deflate (RFC 7692): "on" or "off". It costs some 10 µs of CPU time a
	// KiB. Leave it off where a message has both a secret and text that somebody else
	// chooses: its size then tells of the secret. Empty means "off".
	Compression string `koanf:"compression" reload:"connections" oneof:"off,on"`
	// Deflate says how, when Compression is on.
	Deflate DeflateOptions `koanf:"deflate"`
}

// DeflateOptions say how messages are compressed. The zero value of a field means
// its default.
type DeflateOptions struct {
	// Level is what the compressor spends on a message, range [1, 9]: 1 is the
	// fastest, 9 the smallest. A message that is larger than the window which the
	// client asked for is compressed in a way of its own, much like 5. 0 means 1.
	Level int `koanf:"level" reload:"hot"`
	// Threshold is the size from which on a message is compressed before it is sent;
	// it still goes out as it is when that is shorter. 0 means 512B.
	Threshold Size `koanf:"threshold" reload:"hot"`
	// MaxRatio bounds how many times its own size a message of a peer may become,
	// once it is larger than 64KiB; 1009. A message never becomes larger than
	// max_message_size. 0 means 25.
	MaxRatio int `koanf:"max_ratio" reload:"hot" over:"close 1009"`
	// ContextTakeover says whether a message may refer to those before it, if the
	// client agrees. Small messages that resemble each other become a fraction of
	// the size, for which a connection remembers what was said last: up to
	// 2^window_bits bytes each way. What is published is compressed for each
	// receiver by itself.
	ContextTakeover bool `koanf:"context_takeover" reload:"connections"`
	// TakeoverBudget bounds what all connections with context takeover may remember;
	// those that come when it is spent get none. 0 means 64MiB.
	TakeoverBudget Size `koanf:"takeover_budget" reload:"connections" over:"no takeover"`
	// WindowBits bounds how far back a message may refer: 2^window_bits bytes, range
	// [8, 15]. 0 means 12 with context_takeover, since what is remembered has to be
	// looked through for each message, and 15 without.
	WindowBits int `koanf:"window_bits" reload:"connections"`
}

// HandlerOptions bound what one invocation may ask for.
type HandlerOptions struct {
	// MaxEffects bounds sends, publishes, joins and timers of one invocation; a
	// host call beyond it answers "too many". 0 means 1000.
	MaxEffects int `koanf:"max_effects" over:"host call answers too many"`
	// MaxEffectsSize bounds their payload bytes together; a host call beyond it
	// answers "too big". 0 means 1MiB, and never less than four messages.
	MaxEffectsSize Size `koanf:"max_effects_size" over:"host call answers too big"`
	// QueueTimeout is how long a connection may wait for an instance of its
	// module when all of them are busy; then it is closed with 1013, or its
	// upgrade answered 503. It may take up to half as long again. 0 means 100ms.
	QueueTimeout time.Duration `koanf:"queue_timeout" over:"close 1013, HTTP 503"`
	// Inline says where handlers run: "auto" runs a generation that has proved
	// quick on the goroutine that read the message, which saves a hand-over;
	// "never" always hands over to a worker. Empty means "auto".
	Inline string `koanf:"inline" oneof:"auto,never"`
}

// DrainOptions bound an orderly stop.
type DrainOptions struct {
	// Spread is the time over which Close frames (1001) are spread, so that the
	// clients do not come back all at once. Few connections take less: 2 ms each.
	// 0 means 30s.
	Spread time.Duration `koanf:"spread"`
	// Timeout bounds the whole drain; what is still open then is cut. 0 means
	// 60s.
	Timeout time.Duration `koanf:"timeout" over:"dropped"`
}

// Route sends the connections of a path to a module, or its plain requests to
// a folder.
type Route struct {
	// Path is matched against the request's path: literal segments, {name} for
	// one segment, {name...} last for the rest. Required.
	Path string `koanf:"path"`
	// Module is the name of the module that handles WebSocket connections here.
	Module string `koanf:"module"`
	// Static is a folder whose files answer requests that are not upgrades, for
	// this path and everything below it.
	Static string `koanf:"static"`
	// Protocols are the subprotocols that the server may pick when the handler
	// picks none; the client's first one that is listed wins.
	Protocols []string `koanf:"protocols"`
	// Scope says which instance of the module serves a connection: any free one
	// ("pool"), one of its own ("connection"), the one of its key ("key"), or the
	// only one ("singleton"). All but "pool" keep what the handler has in memory.
	// Empty means "pool".
	Scope string `koanf:"scope" oneof:"pool,connection,key,singleton"`
	// Key is what the scope "key" takes a connection's key from: text and
	// parameters of the path, such as "{room}". Connections with the same key of
	// the same module share an instance.
	Key string `koanf:"key"`
}

// Values of WebSocketOptions.Compression.
const (
	compressionOff = "off"
	compressionOn  = "on"
)

const (
	inlineAuto  = "auto"
	inlineNever = "never"
)

// WithDefaults returns o with every zero field replaced by its default.
func (o Options) WithDefaults() Options {
	s := &o.Server
	if len(s.Listen) == 0 {
		s.Listen = []string{":8080"}
	}
	if s.MaxConnections == 0 {
		s.MaxConnections = defaultMaxConnections()
	}
	setDefault(&s.ProxyProtocol, proxyOff)
	setDefault(&s.ForwardedHeader, forwardedX)
	setDefault(&s.MaxHandshakes, 1024)
	setDefault(&s.HandshakeTimeout, 5*time.Second)
	setDefault(&s.MaxHeaderSize, 16<<10)
	setDefault(&s.MaxHeaders, 64)
	setDefault(&s.MaxURISize, 8<<10)
	if s.InboundBudget == 0 || s.OutboundBudget == 0 {
		memory := Size(runtime.MemoryLimit())
		setDefault(&s.InboundBudget, min(256<<20, memory/100*15))
		setDefault(&s.OutboundBudget, min(512<<20, memory/100*25))
	}

	w := &o.WebSocket
	setDefault(&w.MaxMessageSize, 64<<10)
	setDefault(&w.MaxFrameSize, w.MaxMessageSize)
	setDefault(&w.MaxFragments, 256)
	setDefault(&w.MessageTimeout, 30*time.Second)
	setDefault(&w.ControlRate, 100)
	setDefault(&w.InboundExcess, excessWait)
	setDefault(&w.PingInterval, 25*time.Second)
	setDefault(&w.PongTimeout, 10*time.Second)
	setDefault(&w.IdleTimeout, 120*time.Second)
	setDefault(&w.WriteTimeout, 10*time.Second)
	setDefault(&w.CloseTimeout, 5*time.Second)
	setDefault(&w.OutboundQueueSize, 1<<20)
	setDefault(&w.OutboundQueueMessages, 1024)
	setDefault(&w.MaxTopics, 128)
	setDefault(&w.MaxTimers, 64)
	setDefault(&w.Compression, compressionOff)
	setDefault(&w.Deflate.Level, 1)
	setDefault(&w.Deflate.Threshold, 512)
	setDefault(&w.Deflate.MaxRatio, 25)
	setDefault(&w.Deflate.TakeoverBudget, 64<<20)
	if w.Deflate.ContextTakeover {
		setDefault(&w.Deflate.WindowBits, 12)
	}
	setDefault(&w.Deflate.WindowBits, maxWindowBits)

	h := &o.Handler
	setDefault(&h.MaxEffects, 1000)
	setDefault(&h.MaxEffectsSize, max(1<<20, 4*w.MaxMessageSize))
	setDefault(&h.QueueTimeout, 100*time.Millisecond)
	setDefault(&h.Inline, inlineAuto)

	d := &o.Drain
	setDefault(&d.Spread, 30*time.Second)
	setDefault(&d.Timeout, 60*time.Second)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every mistake in o at once (errors.Join), each with the key
// as it stands in a configuration file. Zero fields are right: they mean
// defaults. It does not know the modules' names; Server.Validate does.
func (o Options) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	atLeastZero(bad, "server.max_connections", o.Server.MaxConnections)
	atLeastZero(bad, "server.max_connections_per_ip", o.Server.MaxConnectionsPerIP)
	atLeastZero(bad, "server.max_handshakes", o.Server.MaxHandshakes)
	atLeastZero(bad, "server.handshake_timeout", o.Server.HandshakeTimeout)
	within(bad, "server.max_header_size", o.Server.MaxHeaderSize, 256, 1<<20)
	within(bad, "server.max_headers", o.Server.MaxHeaders, 1, maxHeaderFields)
	within(bad, "server.max_uri_size", o.Server.MaxURISize, 1, 1<<20)
	atLeastZero(bad, "server.inbound_budget", o.Server.InboundBudget)
	atLeastZero(bad, "server.outbound_budget", o.Server.OutboundBudget)
	for i, address := range o.Server.Listen {
		if strings.TrimSpace(address) == "" {
			bad(fmt.Sprintf("server.listen[%d]", i), "is empty; write an address such as \":8080\"")
		}
		if address == "systemd:" {
			bad(fmt.Sprintf("server.listen[%d]", i), "names no socket; write \"systemd:NAME\", or \"systemd\" for every one that was passed")
		}
	}
	if err := o.Server.TLS.Validate(); err != nil {
		errs = append(errs, underTLS(err))
	}
	if _, err := parseMode(o.Server.UnixMode); err != nil {
		bad("server.unix_mode", "%v", err)
	}
	within(bad, "server.tcp_user_timeout", o.Server.TCPUserTimeout, time.Second, 24*time.Hour)
	for i, origin := range o.Server.AllowedOrigins {
		if err := checkOriginPattern(origin); err != nil {
			bad(fmt.Sprintf("server.allowed_origins[%d]", i), "%v", err)
		}
	}

	for i, proxy := range o.Server.TrustedProxies {
		if proxy == trustUnix {
			continue
		}
		if _, err := parseTrusted(proxy); err != nil {
			bad(fmt.Sprintf("server.trusted_proxies[%d]", i), "%v", err)
		}
	}
	switch mode := o.Server.ProxyProtocol; mode {
	case "", proxyOff, proxyAccept, proxyRequire:
	default:
		bad("server.proxy_protocol", "%q is none of \"off\", \"accept\", \"require\"", mode)
	}
	switch header := o.Server.ForwardedHeader; header {
	case "", forwardedX, forwardedRFC, forwardedNone:
	default:
		bad("server.forwarded_header", "%q is none of \"x-forwarded-for\", \"forwarded\", \"none\"", header)
	}

	w := o.WebSocket
	within(bad, "websocket.max_message_size", w.MaxMessageSize, 1, 64<<20)
	within(bad, "websocket.max_frame_size", w.MaxFrameSize, 1, 64<<20)
	atLeastZero(bad, "websocket.max_fragments", w.MaxFragments)
	atLeastZero(bad, "websocket.message_timeout", w.MessageTimeout)
	atLeastZero(bad, "websocket.control_rate", w.ControlRate)
	within(bad, "websocket.inbound_rate", w.InboundRate, 1, 1_000_000)
	within(bad, "websocket.inbound_burst", w.InboundBurst, 1, 1_000_000)
	within(bad, "websocket.inbound_bytes", w.InboundBytes, 1<<10, 1<<40)
	if e := w.InboundExcess; e != "" && e != excessWait && e != excessClose {
		bad("websocket.inbound_excess", "%q is neither \"wait\" nor \"close\"", e)
	}
	atLeastZero(bad, "websocket.ping_interval", w.PingInterval)
	atLeastZero(bad, "websocket.pong_timeout", w.PongTimeout)
	atLeastZero(bad, "websocket.idle_timeout", w.IdleTimeout)
	atLeastZero(bad, "websocket.write_timeout", w.WriteTimeout)
	atLeastZero(bad, "websocket.close_timeout", w.CloseTimeout)
	within(bad, "websocket.outbound_queue_size", w.OutboundQueueSize, 1, math.MaxInt32)
	atLeastZero(bad, "websocket.outbound_queue_messages", w.OutboundQueueMessages)
	atLeastZero(bad, "websocket.max_topics", w.MaxTopics)
	atLeastZero(bad, "websocket.max_timers", w.MaxTimers)
	if on := w.Compression; on != "" && on != compressionOn && on != compressionOff {
		bad("websocket.compression", "%q is neither \"on\" nor \"off\"", on)
	}
	within(bad, "websocket.deflate.level", w.Deflate.Level, 1, 9)
	within(bad, "websocket.deflate.threshold", w.Deflate.Threshold, 1, 64<<20)
	within(bad, "websocket.deflate.max_ratio", w.Deflate.MaxRatio, 1, 2000)
	atLeastZero(bad, "websocket.deflate.takeover_budget", w.Deflate.TakeoverBudget)
	within(bad, "websocket.deflate.window_bits", w.Deflate.WindowBits, minWindowBits, maxWindowBits)

	atLeastZero(bad, "handler.max_effects", o.Handler.MaxEffects)
	within(bad, "handler.max_effects_size", o.Handler.MaxEffectsSize, 1, math.MaxInt32)
	within(bad, "handler.queue_timeout", o.Handler.QueueTimeout, 2*wheelTick, time.Hour)
	if in := o.Handler.Inline; in != "" && in != inlineAuto && in != inlineNever {
		bad("handler.inline", "%q is neither \"auto\" nor \"never\"", in)
	}
	atLeastZero(bad, "drain.spread", o.Drain.Spread)
	atLeastZero(bad, "drain.timeout", o.Drain.Timeout)

	for i, r := range o.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		path, err := parsePattern(r.Path)
		if err != nil {
			bad(key+".path", "%v", err)
		} else if _, _, err := r.checkScope(&path); err != nil {
			errs = append(errs, fmt.Errorf("%s.%w", key, err))
		}
		if r.Module == "" && r.Static == "" {
			bad(key, "names neither a module nor a static folder")
		}
		for j, p := range r.Protocols {
			if !isToken(p) {
				bad(fmt.Sprintf("%s.protocols[%d]", key, j), "%q is not a token (RFC 6455 §4.1)", p)
			}
		}
	}
	return errors.Join(errs...)
}

type number interface {
	~int | ~int64
}

func atLeastZero[T number](bad func(string, string, ...any), key string, v T) {
	if v < 0 {
		bad(key, "%v is negative", v)
	}
}

// within accepts zero, which means the default, and [lo, hi].
func within[T number](bad func(string, string, ...any), key string, v, lo, hi T) {
	if v != 0 && (v < lo || v > hi) {
		bad(key, "%v is outside [%v, %v]", v, lo, hi)
	}
}

func checkOriginPattern(s string) error {
	if s == "*" {
		return nil
	}
	if _, _, ok := splitOrigin(s); !ok {
		return fmt.Errorf("%q is not an origin; write scheme://host or scheme://host:port, or \"*\"", s)
	}
	return nil
}

// Size counts bytes; in text it is a number with a unit: "512B", "64KiB",
// "1MiB", "2GiB".
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String writes s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if int64(s)%u.bytes == 0 && (int64(s) != 0 || u.bytes == 1) {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// UnmarshalText reads a whole number with its unit and refuses a bare number
// other than 0, since nobody can see whether bytes or kilobytes were meant.
func (s *Size) UnmarshalText(text []byte) error {
	str := strings.TrimSpace(string(text))
	if str == "0" {
		*s = 0
		return nil
	}
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(str, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			return fmt.Errorf("size %q is not a whole number of %s", str, u.name)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	if _, err := strconv.Atoi(str); err == nil {
		return fmt.Errorf("size %q needs a unit: %sB, %sKiB or %sMiB", str, str, str, str)
	}
	return fmt.Errorf("size %q is not a number with a unit (B, KiB, MiB, GiB)", str)
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
