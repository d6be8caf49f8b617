package admin

import (
	"context"
	"errors"
	"strings"
)

// ErrUnavailable means that this server cannot do that, now or at all.
var ErrUnavailable = errors.New("admin: not available")

// ErrCanaryFile means that a canary was to be kept in its module's file: it may
// yet be given up.
var ErrCanaryFile = errors.New("admin: a canary is not kept in a file; give persist when it is promoted")

// Operator does what the server cannot do itself, because it knows neither files
// nor configuration. Its methods may be called from any goroutine.
type Operator interface {
	// Sources is what is known of the modules beside what their server knows, by
	// their names. The caller may keep it.
	Sources() map[string]Source
	// Deploy loads a version of a module. Errors match those of host.Server.Reload;
	// a module that is not taken is a *RefusedError.
	Deploy(ctx context.Context, u Upload) (Deployed, error)
	// Persist makes a module's file hold what is current. Errors match
	// host.ErrUnknownModule, and host.ErrConflict when that is not what was
	// deployed last.
	Persist(ctx context.Context, module string) error
	// Reload reads all files again and returns what came of the configuration.
	Reload(ctx context.Context) (Reload, error)
	// LastReload is what came of it last.
	LastReload() Reload
	// Configuration is that in effect: a JSON object without secrets.
	Configuration(ctx context.Context) ([]byte, error)
}

// Source is where a module comes from and what leads to it.
type Source struct {
	Path         string
	Uploads      []string // digests of versions that came by the API, and that its file does not hold
	Capabilities []string
	Routes       []ModuleRoute
	LastRefusal  *Refusal
}

// Upload is a version of a module that somebody sends.
type Upload struct {
	Module  string
	Wasm    []byte
	Canary  *int   // share in percent; nil: as configured
	Latest  uint64 // the generation that must be the latest; 0: any
	Persist bool   // its file is to hold it too
}

// RefusedError says why something is not taken: a module, or a configuration.
type RefusedError struct {
	// Stage is how far a module came, as in Problem. Empty for a configuration.
	Stage string
	// Problems are all that was found, at least one.
	Problems []string
	// Cause is the error that says so; may be nil.
	Cause error
}

// Error is all of it in one line.
func (e *RefusedError) Error() string { return strings.Join(e.Problems, "; ") }

// Unwrap returns Cause.
func (e *RefusedError) Unwrap() error { return e.Cause }
