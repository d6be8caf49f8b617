package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"weir/host"
	"weir/internal/admin"
)

// The follower is an admin.Operator: what the API wants changed is done by the
// goroutine that follows the files, so that the two never meet.
var _ admin.Operator = (*follower)(nil)

// do has the follower's goroutine run f, and waits for it. live ends with the
// follower.
func (f *follower) do(ctx context.Context, what func(live context.Context)) error {
	done := make(chan struct{})
	select {
	case f.asked <- func(live context.Context) {
		defer close(done)
		what(live)
	}:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ended:
		if err := ctx.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%w: the server stops", admin.ErrUnavailable)
	}
}

// Reload reads all files again, as a hang-up asks for. Modules may still be loading
// when it returns.
func (f *follower) Reload(ctx context.Context) (done admin.Reload, _ error) {
	err := f.do(ctx, func(context.Context) {
		f.logger.Info("reading all files again", "signal", "admin")
		f.lookAll()
		done = f.LastReload()
	})
	return done, err
}

// LastReload is the latest reload of the configuration; its Count is 0 when there
// was none.
func (f *follower) LastReload() admin.Reload {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}

// Configuration is the one in effect.
func (f *follower) Configuration(context.Context) ([]byte, error) {
	f.mu.Lock()
	shown := f.shown
	f.mu.Unlock()
	return shown.config.Shown(shown.secrets)
}

// Sources is what the files and the API say of the modules.
func (f *follower) Sources() map[string]admin.Source {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := sourcesOf(f.shown.config)
	for name, source := range all {
		source.Uploads, source.LastRefusal = slices.Clone(f.uploads[name]), f.refusals[name]
		all[name] = source
	}
	return all
}

// Deploy loads an upload. It holds until the module's file changes, or all files
// are read again.
func (f *follower) Deploy(ctx context.Context, u admin.Upload) (done admin.Deployed, err error) {
	asked := f.do(ctx, func(live context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(live, cancel)()
		done, err = f.deploy(ctx, u)
	})
	if asked != nil {
		return done, asked
	}
	return done, err
}

func (f *follower) deploy(ctx context.Context, u admin.Upload) (admin.Deployed, error) {
	now, m := f.serving[u.Module], f.current.Modules[u.Module]
	if now == nil {
		return admin.Deployed{}, fmt.Errorf("module %q: %w", u.Module, host.ErrUnknownModule)
	}
	now.settle(f.server, u.Module)
	stable, canary := ruling(f.server, u.Module)
	latest := max(stable.Number, canary.Number)
	if u.Latest != 0 && u.Latest != latest {
		return admin.Deployed{}, fmt.Errorf("module %q: %w: the latest is %d, not %d", u.Module, host.ErrConflict, latest, u.Latest)
	}
	file, err := m.Trusted(u.Module, u.Wasm) // as the file would have it
	if err != nil {
		err = refusalOf(err)
		f.refuse(u.Module, "api", digestOf(u.Wasm), err)
		return admin.Deployed{}, err
	}
	asked := file
	if u.Canary != nil {
		asked.Rollout.Canary = *u.Canary
	}
	if u.Latest != 0 {
		asked.Replaces = stable.Number
	}
	asked.SelfTest = selfTest(f.env, m, file)
	var kept *replacement
	if u.Persist {
		if asked.Rollout.Canary > 0 {
			return admin.Deployed{}, admin.ErrCanaryFile
		}
		if kept, err = besideFile(m.Path, u.Wasm); err != nil {
			return admin.Deployed{}, fmt.Errorf("write what is to be the file of module %q: %w", u.Module, err)
		}
	}
	done, err := now.load(ctx, f.server, asked)
	if err != nil {
		if kept != nil {
			_ = kept.discard() // a file of that name that stays does no harm
		}
		err = refusalOf(err)
		f.refuse(u.Module, "api", digestOf(u.Wasm), err)
		return admin.Deployed{}, err
	}
	now.module = file
	delete(f.seen, u.Module) // what its file held before
	result := admin.Deployed{
		Generation: done.Generation, Digest: done.Digest, Canary: done.Canary,
		LoadMS: done.Load.Seconds() * 1e3, SwapMS: done.Swap.Seconds() * 1e3,
	}
	if kept != nil {
		if err := kept.commit(); err != nil {
			f.logger.Error("a module serves, but its file could not be replaced", "module", u.Module, "gen", done.Generation, "err", err)
			result.PersistError = err.Error()
		} else {
			result.Persisted = true
		}
	}
	f.holds(u.Module, now, !result.Persisted)
	return result, nil
}

// Persist makes the file of a module hold what was deployed last.
func (f *follower) Persist(ctx context.Context, module string) (err error) {
	asked := f.do(ctx, func(context.Context) { err = f.persist(module) })
	if asked != nil {
		return asked
	}
	return err
}

func (f *follower) persist(module string) error {
	now := f.serving[module]
	if now == nil {
		return fmt.Errorf("module %q: %w", module, host.ErrUnknownModule)
	}
	if stable, _ := ruling(f.server, module); stable.Digest != digestOf(now.module.Wasm) {
		return fmt.Errorf("module %q: %w", module, host.ErrConflict)
	}
	kept, err := besideFile(f.current.Modules[module].Path, now.module.Wasm)
	if err == nil {
		err = kept.commit()
	}
	if err == nil {
		f.holds(module, now, false)
	}
	return err
}

// maxUploads is how many uploads of a module are known as such.
const maxUploads = 32

// holds notes whether what was loaded last is an upload.
func (f *follower) holds(module string, now *deployment, uploaded bool) {
	now.uploaded = uploaded
	digest := digestOf(now.module.Wasm)
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.DeleteFunc(f.uploads[module], func(d string) bool { return d == digest })
	if uploaded {
		all = append(all, digest)
	}
	f.uploads[module] = all[max(0, len(all)-maxUploads):]
}

// refuse notes why a version of a module was not taken, when it is to blame.
func (f *follower) refuse(module, source, digest string, why error) {
	refused, ok := why.(*admin.RefusedError)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals[module] = &admin.Refusal{Time: time.Now().UTC(), Digest: digest, Detail: refused.Error(), Stage: refused.Stage, Source: source}
}

// ruling is who serves a module: the current generation, and a canary, whose
// Number is 0 when there is none.
func ruling(server *host.Server, module string) (stable, canary host.Generation) {
	all := server.Generations(module)
	find := func(fate host.Fate) (found host.Generation) {
		if i := slices.IndexFunc(all, func(g host.Generation) bool { return g.Fate == fate }); i >= 0 {
			found = all[i]
		}
		return found
	}
	return find(host.FateCurrent), find(host.FateCanary)
}

// load makes the next generation, and remembers what a rollback would return to.
func (d *deployment) load(ctx context.Context, server *host.Server, m host.Module) (host.Reloaded, error) {
	before, wasUp := d.served, d.uploaded
	if d.isBefore(server, m.Name) {
		before, wasUp = *d.before, d.wasUp // the other is a canary that gives way, or was rolled back
	}
	done, err := d.served.load(ctx, server, m)
	if err == nil {
		d.before, d.wasUp = &before, wasUp
	}
	return done, err
}

// code is what serves all but a canary's share, and whether that was uploaded: what
// was loaded last, or, when that is a canary or was rolled back, what was there
// before.
func (d *deployment) code(server *host.Server, module string) (wasm []byte, uploaded bool) {
	if d.isBefore(server, module) {
		return d.before.module.Wasm, d.wasUp
	}
	return d.module.Wasm, d.uploaded
}

// isBefore reports whether the current generation is of what was there before the
// last load.
func (d *deployment) isBefore(server *host.Server, module string) bool {
	if d.before == nil {
		return false
	}
	stable, _ := ruling(server, module)
	return stable.Digest == digestOf(d.before.module.Wasm) && stable.Digest != digestOf(d.module.Wasm)
}

// settle forgets an upload that was rolled back: what its file holds is compared
// with what serves. A file that was rolled back is not forgotten, or it would be
// loaded again.
func (d *deployment) settle(server *host.Server, module string) {
	if d.before == nil {
		return
	}
	stable, canary := ruling(server, module)
	d.generation = stable.Number
	isBack := canary.Number == 0 && d.isBefore(server, module)
	if isBack && d.uploaded {
		d.module, d.uploaded = d.before.module, d.wasUp
		d.before = nil
		return
	}
	kept := slices.ContainsFunc(server.Generations(module), func(g host.Generation) bool { return g.Fate == host.FatePrevious })
	if !isBack && !kept && canary.Number == 0 {
		d.before = nil
	}
}
