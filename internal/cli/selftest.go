package cli

import (
	"context"
	"path/filepath"

	"weir/host"
	"weir/internal/config"
	"weir/internal/scenario"
)

// selfTest is what a new version of a module must pass before it takes over; nil
// when its configuration wants none.
func selfTest(env *Env, c config.Module, m host.Module) func(context.Context) error {
	if c.SelfTest == "" {
		return nil
	}
	var o scenario.EngineOptions
	if env.CacheDir != "" {
		o.CacheDir = filepath.Join(env.CacheDir, "weir")
	}
	return func(ctx context.Context) error { return scenario.SelfTest(ctx, c.SelfTest, env.ReadFile, m, o) }
}
