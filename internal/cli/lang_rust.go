package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// rustTarget is what cargo compiles for: no WASI, whose functions a handler has
// no use for.
const rustTarget = "wasm32-unknown-unknown"

var languageRust = &language{
	name: "rust", title: "Rust", marks: []string{"Cargo.toml"},
	manifest: "Cargo.toml",
	plan:     planRust,
	debug:    []string{"--config", `profile.release.strip="debuginfo"`}, // the names stay
	tests:    "cargo test",
	tools: []tool{{part: "cargo", cure: rustCures, check: func(ctx context.Context, env *Env) (version, path string, err error) {
		_, cargo, err := findRust(ctx, env, ".")
		if err != nil {
			return "", "", err
		}
		version, err = ask(ctx, env, cargo, []string{"--version"})
		return version, cargo, err
	}}},
}

var rustCures = cures{any: "https://rustup.rs, then rustup target add " + rustTarget, debian: "apt install " + rustPackages}

// rustPackages are Debian's: the compiler, the standard library for WebAssembly
// and the linker.
const rustPackages = "cargo rustc libstd-rust-dev-wasm32 lld"

// rustToolchain is a cargo with the rustc that belongs to it: they do not work
// with one another's across many versions.
type rustToolchain struct {
	cargo, rustc string
	environ      []string // makes cargo use that rustc
}

// rustToolchains are looked at in this order: the user's own, which is often
// rustup's, and the system's packages.
func rustToolchains() []rustToolchain {
	return []rustToolchain{
		{cargo: "cargo", rustc: "rustc"},
		{cargo: "/usr/bin/cargo", rustc: "/usr/bin/rustc", environ: []string{"RUSTC=/usr/bin/rustc"}},
	}
}

// errNoRustTarget is a compiler without the standard library for rustTarget.
var errNoRustTarget = errors.New("there is no standard library for " + rustTarget)

// findRust is the first toolchain that can compile for WebAssembly in folder,
// where rustup may have been told to use another; with the path of its cargo.
func findRust(ctx context.Context, env *Env, folder string) (rustToolchain, string, error) {
	var failed error
	for _, t := range rustToolchains() {
		cargo, err := env.LookPath(t.cargo)
		if err != nil {
			if failed == nil {
				failed = fmt.Errorf("there is no %s in the PATH", t.cargo)
			}
			continue
		}
		if err := t.compiles(ctx, env, folder); err == nil {
			return t, cargo, nil
		} else if failed == nil || errors.Is(err, errNoRustTarget) {
			failed = err
		}
	}
	return rustToolchain{}, "", failed
}

// compiles reports why the toolchain does not compile for rustTarget; nil if it
// does.
func (t rustToolchain) compiles(ctx context.Context, env *Env, folder string) error {
	rustc, err := env.LookPath(t.rustc)
	if err != nil {
		return fmt.Errorf("there is no %s in the PATH", t.rustc)
	}
	printed, err := output(ctx, env, folder, env.Environ, rustc, "--print", "target-libdir", "--target", rustTarget)
	if err != nil {
		return err
	}
	// rustc names the folder whether it is there or not.
	if entries, err := env.ReadDir(strings.TrimSpace(string(printed))); err != nil || len(entries) == 0 {
		return fmt.Errorf("%s: %w", rustc, errNoRustTarget)
	}
	return nil
}

// output runs a program in folder and returns what it prints.
func output(ctx context.Context, env *Env, folder string, environ []string, path string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = folder, environ, &stdout, &stderr
	if err := env.Exec(cmd); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

func planRust(ctx context.Context, env *Env, t *buildTask, p sourceTree) error {
	rust, cargo, err := findRust(ctx, env, p.folder)
	if err != nil {
		return t.missing(err, "install Rust 1.63 or later with that target (rustup: rustup target add "+rustTarget+"; Debian: apt install "+rustPackages+")")
	}
	t.program, t.path = rust.cargo, cargo
	// The stack that every SDK has. A project's own flags in .cargo/config.toml are
	// kept; RUSTFLAGS in the environment takes the place of both.
	t.environ = append(slices.Clone(rust.environ), "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=-Clink-arg=-zstack-size=65536")
	t.args = func(string) []string {
		return slices.Concat([]string{"build", "--release", "--target", rustTarget}, p.flags)
	}
	t.made = func(ctx context.Context) (string, error) {
		metadata, err := output(ctx, env, p.folder, slices.Concat(env.Environ, t.environ), cargo, "metadata", "--format-version", "1", "--no-deps")
		if err != nil {
			return "", err
		}
		return rustModule(metadata, p.folder)
	}
	return nil
}

// rustModule finds the file that cargo has made of the package in folder, in what
// cargo metadata prints.
func rustModule(metadata []byte, folder string) (string, error) {
	var workspace struct {
		Target   string `json:"target_directory"`
		Packages []struct {
			Manifest string `json:"manifest_path"`
			Targets  []struct {
				Name  string   `json:"name"`
				Types []string `json:"crate_types"`
			} `json:"targets"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(metadata, &workspace); err != nil {
		return "", fmt.Errorf("cargo metadata: %w", err)
	}
	// cargo follows symbolic links.
	here, err := filepath.Abs(folder)
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return "", err
	}
	for _, p := range workspace.Packages {
		if filepath.Dir(p.Manifest) != here {
			continue
		}
		for _, target := range p.Targets {
			if slices.Contains(target.Types, "cdylib") {
				name := strings.ReplaceAll(target.Name, "-", "_")
				return filepath.Join(workspace.Target, rustTarget, "release", name+".wasm"), nil
			}
		}
	}
	return "", errors.New(`the package makes no module: Cargo.toml needs [lib] with crate-type = ["cdylib"]`)
}
