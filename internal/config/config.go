package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/host"
	"weir/internal/sign"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// Config is the whole configuration of one server. The zero value of a field
// means its default.
type Config struct {
	host.Options `koanf:",squash"`
	// Modules are the handlers, by the names that routes use. A name matches
	// [a-z0-9][a-z0-9._-]{0,63}.
	Modules map[string]Module `koanf:"modules" reload:"generation"`
	Log     LogOptions        `koanf:"log"`
	Admin   AdminOptions      `koanf:"admin"`
	// Reload says when a server that runs takes what has changed in its
	// configuration files: "watch" as soon as it is there, "signal" at a SIGHUP.
	// Empty means "watch".
	Reload string `koanf:"reload" reload:"hot" oneof:"watch,signal"`
	// Netpoll says how many goroutines wait for the sockets.
	Netpoll netpoll.Options `koanf:"netpoll"`
	// Pool bounds the goroutines that run handlers.
	Pool pool.Options `koanf:"pool"`
	// Runtime says how handlers are compiled and run.
	Runtime runtime.Options `koanf:"runtime"`
}

// Module says what one handler is and what it may use.
type Module struct {
	// Path is the .wasm file, relative to the configuration file. Required.
	Path string `koanf:"path"`
	// Build is a command line that makes Path from source; `weir build` runs it
	// with sh (cmd on Windows), in the folder of the configuration file and with
	// GOOS=wasip1 and GOARCH=wasm. Empty means the compiler of the language that
	// is found there. A server ignores it.
	Build string `koanf:"build" reload:"hot"`
	// Capabilities lists the groups of host functions that the module may call
	// beyond the basic ones: "topics", "timers", "metrics".
	Capabilities []string `koanf:"capabilities" oneof:"topics,timers,metrics"`
	// Ungranted says what becomes of a module that imports functions which
	// Capabilities do not cover: "refuse" it, or "deny" the functions, which then
	// answer so. Empty means "refuse".
	Ungranted string `koanf:"ungranted" oneof:"refuse,deny"`
	// Config is handed to the module's init event as JSON. Empty means {}.
	Config map[string]any `koanf:"config"`
	// KeepHeaders lists the request header fields that stay readable after the
	// upgrade, as the attribute header:NAME; each costs memory a connection.
	KeepHeaders []string `koanf:"keep_headers"`
	// Metrics are those that the module's handlers may add to with metric_add, by
	// name; at most 64. They need the capability "metrics", and appear beside the
	// server's own as weir_app_NAME, a counter with _total behind it, and with the
	// label module. Their values outlive generations. A name is words of a-z and
	// 0-9 with _ between, 64 bytes at most, and names what is counted, if it has a
	// unit in base units: orders, queue_bytes, wait_seconds.
	Metrics map[string]host.Metric `koanf:"metrics"`
	// MemorySize bounds one instance's memory. A multiple of 64KiB, range
	// [64KiB, 512MiB]; 0 means 32MiB.
	MemorySize host.Size `koanf:"memory_size" over:"memory.grow answers -1"`
	// Instances bounds the instances that exist at once. 0 means twice
	// GOMAXPROCS.
	Instances int `koanf:"instances" over:"events wait for handler.queue_timeout"`
	// Limits bound what the module's handlers may spend.
	Limits runtime.Limits `koanf:"limits"`
	// OnTrap says what becomes of a connection whose handler trapped or ran out
	// of a limit: "close" (1011), or "keep", which loses the event only. Empty
	// means "close".
	OnTrap string `koanf:"on_trap" oneof:"close,keep"`
	// Record says whether a handler that traps leaves a tape in
	// runtime.tape_dir, which "weir replay" plays again: "on_trap", or "off".
	// Tapes hold what clients sent. Empty means "off".
	Record string `koanf:"record" oneof:"on_trap,off"`
	// Topics say what becomes of publishes to readers that are too slow; the first
	// whose pattern matches a topic counts. Empty means that such readers are closed.
	Topics []host.TopicPolicy `koanf:"topics"`
	// Breaker says what the server does while the module traps all the time.
	Breaker host.BreakerOptions `koanf:"breaker"`
	// Rollout says how a new version of the module takes over.
	Rollout host.RolloutOptions `koanf:"rollout"`
	// Signers lists the Ed25519 public keys, in base64, of whom a server loads the
	// module from: one of them must have signed the file, as "weir sign" does, and
	// a version older than one that has been loaded is refused. Empty means that
	// no signature is asked for. Only servers ask: "weir dev" and "weir test" run
	// what was just built.
	Signers []string `koanf:"signers" reload:"hot"`
	// SelfTest is a scenario file, relative to the configuration file, that a new
	// version must pass before it takes over. It is played against the new version
	// in virtual time, whatever module it names. Empty means none.
	SelfTest string `koanf:"self_test"`
	// Cells bounds the instances of the scopes connection, key and singleton
	// together; a connection that would need one more is answered 503. 0 means
	// 10,000.
	Cells int `koanf:"cells" reload:"restart" over:"HTTP 503"`
	// IdleAfter is how long the instance of a key stays when it has neither
	// connections nor timers; what it has in memory goes with it. 0 means 60s.
	IdleAfter time.Duration `koanf:"idle_after" reload:"restart"`
	// Reload says when a server that runs takes a new version of the file: "watch"
	// as soon as it has changed and is whole, "signal" at a SIGHUP. Empty means
	// "watch".
	Reload string `koanf:"reload" reload:"hot" oneof:"watch,signal"`
}

// Values of Config.Reload and Module.Reload.
const (
	ReloadOnChange = "watch"
	ReloadOnSignal = "signal"
)

// LogOptions say what the server tells about itself, on standard error.
type LogOptions struct {
	// Level is the least severe level that is written: "debug", "info", "warn"
	// or "error". Empty means "info".
	Level string `koanf:"level" reload:"hot" oneof:"debug,info,warn,error"`
	// Format is "text" for people, "json" for programs, or "auto": text when
	// standard error is a terminal. Empty means "auto".
	Format string `koanf:"format" oneof:"auto,text,json"`
}

// AdminOptions say how an operator's programs reach the server.
type AdminOptions struct {
	// Listen is an address, "host:port", "unix:/path" or, for a socket that was
	// passed, "systemd:NAME", that answers /metrics for Prometheus, /healthz, and /readyz, which is 503 until every module is loaded
	// and while the server drains. These ask for no token: bind it to a loopback
	// address, such as "127.0.0.1:9100", or let nobody else reach it. With a token
	// it answers the API too. Empty means that there is no such listener, and that
	// handlers are not timed.
	Listen string `koanf:"listen"`
	// Token is what clients of the API show, of 32 bytes or more. Empty means, on
	// a loopback address or a unix socket, that one is made at every start and kept
	// in the user's cache folder for the commands of weir; elsewhere, that there is
	// no API. A server that runs takes another token, but none for one.
	Token string `koanf:"token" reload:"hot" secret:"yes"`
	// AllowedHosts lists the names by which clients may call the API, beside
	// localhost, loopback addresses and the address of Listen: a page on another
	// name that leads here is refused.
	AllowedHosts []string `koanf:"allowed_hosts"`
	// TLSCert is a file with the certificate of Listen and those that it needs
	// (PEM). An API on an address that is not loopback needs it.
	TLSCert string `koanf:"tls_cert"`
	// TLSKey is the file with its key (PEM).
	TLSKey string `koanf:"tls_key"`
	// Pprof serves Go's profiles of the process at /debug/pprof/, to who has the
	// token.
	Pprof bool `koanf:"pprof"`
}

// minTokenBytes is how long AdminOptions.Token is at least.
const minTokenBytes = 32

func (o AdminOptions) validate(bad func(string, string, ...any)) {
	_, port, err := net.SplitHostPort(o.Listen)
	path, isUnix := strings.CutPrefix(o.Listen, "unix:")
	switch {
	case o.Listen == "", strings.HasPrefix(o.Listen, "systemd:"):
	case isUnix && path == "":
		bad("admin.listen", "%q names no file, such as unix:/run/weir/admin.sock", o.Listen)
	case !isUnix && (err != nil || port == ""):
		bad("admin.listen", "%q is neither host:port, such as 127.0.0.1:9100, nor unix:/path, nor systemd:NAME", o.Listen)
	}
	if n := len(o.Token); n > 0 && n < minTokenBytes {
		bad("admin.token", "it has %d bytes and must have %d or more; make one with: openssl rand -hex 32", n, minTokenBytes)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("admin.token", "it has characters that a header field does not carry; letters and digits are enough")
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		missing := "admin.tls_key"
		if o.TLSCert == "" {
			missing = "admin.tls_cert"
		}
		bad(missing, "is missing; certificate and key go together")
	}
	for i, h := range o.AllowedHosts {
		if h == "" || strings.ContainsAny(h, "/: \t*") && net.ParseIP(h) == nil {
			bad(fmt.Sprintf("admin.allowed_hosts[%d]", i), "%q is not a name or an address without a port", h)
		}
	}
}

// Bounds of Module.MemorySize.
const (
	memoryPageSize    = host.Size(64 << 10) // WebAssembly core specification, §4.2.8
	maxMemorySize     = host.Size(512 << 20)
	defaultMemorySize = host.Size(32 << 20)
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "text", "json"}
	onTrap     = []string{"close", "keep"}
	reload     = []string{ReloadOnChange, ReloadOnSignal}
	ungranted  = []string{"refuse", "deny"}
	record     = []string{runtime.RecordOff, runtime.RecordOnTrap}
	moduleName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
)

// maxModuleName is the length of the longest name of a module.
const maxModuleName = 64

// WithDefaults returns c with the defaults of every field that has a fixed one.
// The maps and slices are shared with c, but for Modules.
func (c Config) WithDefaults() Config {
	c.Options = c.Options.WithDefaults()
	if c.Log.Level == "" {
		c.Log.Level = "info"
	}
	if c.Log.Format == "" {
		c.Log.Format = "auto"
	}
	if c.Reload == "" {
		c.Reload = ReloadOnChange
	}
	c.Modules = maps.Clone(c.Modules)
	for name, m := range c.Modules {
		if m.MemorySize == 0 {
			m.MemorySize = defaultMemorySize
		}
		m.Limits = m.Limits.WithDefaults()
		m.Breaker = m.Breaker.WithDefaults()
		m.Rollout = m.Rollout.WithDefaults()
		c.Modules[name] = m
	}
	return c
}

// Validate reports every mistake in c at once (errors.Join); each begins with
// its key as it stands in a configuration file, then a colon.
func (c Config) Validate() error {
	errs := []error{c.Options.Validate()}
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	for _, section := range []struct {
		key string
		err error
	}{
		{"netpoll", c.Netpoll.Validate()},
		{"pool", c.Pool.Validate()},
		{"runtime", c.Runtime.Validate()},
	} {
		for _, err := range flatten(section.err) {
			errs = append(errs, fmt.Errorf("%s.%w", section.key, err))
		}
	}
	oneOf(bad, "log.level", c.Log.Level, logLevels)
	oneOf(bad, "log.format", c.Log.Format, logFormats)
	oneOf(bad, "reload", c.Reload, reload)

	c.Admin.validate(bad)

	names := slices.Sorted(maps.Keys(c.Modules))
	for _, name := range names {
		c.Modules[name].validate(bad, name)
	}
	for i, r := range c.Routes {
		if _, known := c.Modules[r.Module]; !known && r.Module != "" {
			bad(fmt.Sprintf("routes[%d].module", i), "there is no module %q%s", r.Module, hint(r.Module, names))
		}
	}
	return errors.Join(errs...)
}

func (m Module) validate(bad func(string, string, ...any), name string) {
	key := "modules." + name
	if !moduleName.MatchString(name) {
		bad(key, "a module's name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or a digit")
	}
	if m.Path == "" {
		bad(key+".path", "is missing; it names the .wasm file")
	}
	for i, c := range m.Capabilities {
		if _, known := runtime.ParseCapability(c); !known {
			bad(fmt.Sprintf("%s.capabilities[%d]", key, i), "%q is not a capability; there are %s%s",
				c, strings.Join(Capabilities(), ", "), hint(c, Capabilities()))
		}
	}
	if s := m.MemorySize; s != 0 && (s < memoryPageSize || s > maxMemorySize || s%memoryPageSize != 0) {
		bad(key+".memory_size", "%v is not a multiple of %v in [%v, %v]", s, memoryPageSize, memoryPageSize, maxMemorySize)
	}
	if m.Instances < 0 {
		bad(key+".instances", "%d is negative", m.Instances)
	}
	if m.Cells < 0 {
		bad(key+".cells", "%d is negative", m.Cells)
	}
	if m.IdleAfter < 0 {
		bad(key+".idle_after", "%v is negative", m.IdleAfter)
	}
	oneOf(bad, key+".on_trap", m.OnTrap, onTrap)
	oneOf(bad, key+".reload", m.Reload, reload)
	oneOf(bad, key+".record", m.Record, record)
	oneOf(bad, key+".ungranted", m.Ungranted, ungranted)
	for _, section := range []struct {
		key string
		err error
	}{
		{"limits", m.Limits.Validate()},
		{"breaker", m.Breaker.Validate()},
		{"rollout", m.Rollout.Validate()},
	} {
		for _, err := range flatten(section.err) {
			what, why, _ := strings.Cut(err.Error(), ": ")
			bad(key+"."+section.key+"."+what, "%s", why)
		}
	}
	for _, err := range flatten(host.ValidateMetrics(m.Metrics)) {
		what, why, named := strings.Cut(err.Error(), ": ")
		if !named {
			bad(key+".metrics", "%s", what)
			continue
		}
		bad(key+".metrics."+what, "%s", why)
	}
	for i, p := range m.Topics {
		for _, err := range flatten(p.Validate()) {
			what, why, _ := strings.Cut(err.Error(), ": ")
			bad(fmt.Sprintf("%s.topics[%d].%s", key, i, what), "%s", why)
		}
	}
	for i, h := range m.KeepHeaders {
		if h == "" || strings.ContainsAny(h, " \t\r\n:,;()<>@\\\"/[]?={}") {
			bad(fmt.Sprintf("%s.keep_headers[%d]", key, i), "%q is not the name of a header field", h)
		}
	}
	for i, text := range m.Signers {
		if _, err := sign.ParseKey(text); err != nil {
			bad(fmt.Sprintf("%s.signers[%d]", key, i), "%v", err)
		}
	}
	if _, err := m.JSON(); err != nil {
		bad(key+".config", "%v", err)
	}
}

func oneOf(bad func(string, string, ...any), key, value string, known []string) {
	if value != "" && !slices.Contains(known, value) {
		bad(key, "%q is not one of %s%s", value, strings.Join(known, ", "), hint(value, known))
	}
}

// Capabilities lists the names that Module.Capabilities may hold.
func Capabilities() []string { return allCapabilities.Names() }

const allCapabilities = ^runtime.Capability(0)

// Granted is the set that m.Capabilities names. Unknown names are left out;
// Config.Validate reports them.
func (m Module) Granted() runtime.Capability {
	var set runtime.Capability
	for _, name := range m.Capabilities {
		c, _ := runtime.ParseCapability(name)
		set |= c
	}
	return set
}

// JSON is m.Config as the module gets it.
func (m Module) JSON() ([]byte, error) {
	if len(m.Config) == 0 {
		return []byte("{}"), nil
	}
	b, err := json.Marshal(m.Config)
	if err != nil {
		return nil, fmt.Errorf("has no form in JSON: %w", err)
	}
	return b, nil
}

// MemoryPages is m.MemorySize in pages of 64 KiB; 0 stands for the default.
func (m Module) MemoryPages() uint32 { return uint32(m.MemorySize / memoryPageSize) }
