package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"

	"weir/host"
	"weir/internal/admin"
	"weir/internal/config"
	"weir/internal/sign"
	"weir/runtime"
)

// adminOptions are those of the site's admin listener.
func (s *site) adminOptions(logger *slog.Logger) admin.Options {
	info, _ := debug.ReadBuildInfo()
	o := s.config.Admin
	return admin.Options{
		Listen: o.Listen, Token: o.Token, AllowedHosts: o.AllowedHosts, TLSCert: o.TLSCert, TLSKey: o.TLSKey, Pprof: o.Pprof,
		CacheDir: s.cacheDir, MaxModuleBytes: s.config.Runtime.MaxModuleBytes, Version: readVersion(info).Version, Logger: logger, Logs: s.logs,
	}
}

// adminURL is where a client finds the listener.
func adminURL(l *admin.Listener) string {
	return urls([]net.Addr{l.Addr()}, strings.HasPrefix(l.URL(), "https:"))[0]
}

// announceAdmin says how to reach the API. logger is not the one that the API
// tells of: a token that was made is said here, to people who watch, and nowhere
// else but in its file.
func announceAdmin(logger *slog.Logger, people bool, l *admin.Listener) {
	if l == nil {
		return
	}
	if !l.HasAPI() {
		logger.Info("the admin API is not served where others can connect; it needs admin.token, admin.tls_cert and admin.tls_key there")
		return
	}
	token, file := l.GeneratedToken()
	attrs := []any{"url", adminURL(l)}
	if token != "" && (people || file == "") {
		attrs = append(attrs, "token", token)
	}
	if file != "" {
		attrs = append(attrs, "token_file", file)
	}
	logger.Info("the admin API is served", attrs...)
}

// sourcesOf is what a configuration knows of its modules.
func sourcesOf(c *config.Config) map[string]admin.Source {
	all := make(map[string]admin.Source, len(c.Modules))
	for name, m := range c.Modules {
		all[name] = admin.Source{Path: m.Path, Capabilities: m.Granted().Names()}
	}
	for _, r := range c.Routes {
		if r.Module == "" {
			continue
		}
		scope := r.Scope
		if scope == "" {
			scope = "pool"
		}
		source := all[r.Module]
		source.Routes = append(source.Routes, admin.ModuleRoute{Path: r.Path, Scope: scope})
		all[r.Module] = source
	}
	return all
}

// onlooker is the operator of a server that does not follow its files.
type onlooker struct {
	running *config.Config
	secrets config.Secrets
}

var errOnlooker = fmt.Errorf("%w: this server does not take modules and configuration while it runs; weir serve does", admin.ErrUnavailable)

func (o *onlooker) Sources() map[string]admin.Source { return sourcesOf(o.running) }

func (o *onlooker) Deploy(context.Context, admin.Upload) (admin.Deployed, error) {
	return admin.Deployed{}, errOnlooker
}

func (o *onlooker) Persist(context.Context, string) error { return errOnlooker }

func (o *onlooker) Reload(context.Context) (admin.Reload, error) {
	return admin.Reload{}, errOnlooker
}

func (o *onlooker) LastReload() admin.Reload { return admin.Reload{} }

func (o *onlooker) Configuration(context.Context) ([]byte, error) {
	return o.running.Shown(o.secrets)
}

// refusalOf is an error of a reload as the API tells it: why the module is not
// taken, or the error itself when the module is not to blame.
func refusalOf(err error) error {
	switch {
	case errors.Is(err, host.ErrConflict), errors.Is(err, host.ErrUnknownModule), errors.Is(err, runtime.ErrClosed):
		return err
	case errors.Is(err, sign.ErrUnsigned), errors.Is(err, sign.ErrSignature), errors.Is(err, host.ErrOlder):
		return &admin.RefusedError{Stage: "signature", Problems: []string{strings.ReplaceAll(strings.ReplaceAll(err.Error(), "host: ", ""), "sign: ", "")}, Cause: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !isTrap(err):
		return fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	if refused, ok := errors.AsType[*runtime.LoadError](err); ok {
		return &admin.RefusedError{Stage: stageOf(refused.Reasons[0]), Problems: refused.Reasons}
	}
	_, why, _ := strings.Cut(err.Error(), `": `) // behind: reload module "NAME"
	if why == "" {
		why = err.Error()
	}
	stage := "start"
	if errors.Is(err, host.ErrSelfTest) {
		stage, why = "self_test", strings.TrimPrefix(why, host.ErrSelfTest.Error()+": ")
	} else if strings.HasPrefix(why, "init") {
		stage = "init"
	}
	return &admin.RefusedError{Stage: stage, Problems: []string{why}}
}

func isTrap(err error) bool {
	_, ok := errors.AsType[*runtime.TrapError](err)
	return ok
}

// stageOf is how far a module came that is refused for that reason.
func stageOf(reason string) string {
	what, _, _ := strings.Cut(reason, ": ")
	switch what {
	case "compile":
		return "compile"
	case "_initialize", "weir_abi_1", "start":
		return "start"
	}
	return "admission"
}
