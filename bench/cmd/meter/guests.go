package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// guests are the module files that are measured.
type guests struct {
	kernelsC, kernelsGo string
	echoC               string
	chatC, chatGo       string
	deadline            string
}

// clangFlags are those of every C guest of the project (Makefile, GUEST_CFLAGS).
var clangFlags = []string{
	"--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-fno-ident", "-Wall", "-Wextra", "-Werror",
	"-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-Wl,--strip-debug", "-Wl,--compress-relocations",
}

// buildGuests compiles what is measured, from the sources at root (the project's), into dir, which is made if it is
// missing. The small C examples are taken as they are committed.
func buildGuests(ctx context.Context, root, dir, clang string) (guests, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return guests{}, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return guests{}, err
	}
	if root, err = filepath.Abs(root); err != nil {
		return guests{}, err
	}
	g := guests{
		kernelsC:  filepath.Join(dir, "kernels-c.wasm"),
		kernelsGo: filepath.Join(dir, "kernels-go.wasm"),
		echoC:     filepath.Join(root, "examples", "echo-c", "echo.wasm"),
		chatC:     filepath.Join(root, "internal", "cli", "demo", "chat.wasm"),
		chatGo:    filepath.Join(dir, "chat-go.wasm"),
		deadline:  filepath.Join(dir, "deadline.wasm"),
	}
	c := filepath.Join(root, "bench", "kernels", "c")
	for source, to := range map[string]string{"kernels.c": g.kernelsC, "deadline.c": g.deadline} {
		args := append([]string{"-I", filepath.Join(root, "guest-sdk", "c"), "-o", to, filepath.Join(c, source)}, clangFlags...)
		if err := build(exec.CommandContext(ctx, clang, args...)); err != nil {
			return guests{}, fmt.Errorf("build %s: %w", source, err)
		}
	}
	for source, to := range map[string]string{filepath.Join("bench", "kernels", "goguest"): g.kernelsGo, filepath.Join("examples", "chat-go"): g.chatGo} {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", to, ".")
		cmd.Dir = filepath.Join(root, source)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if err := build(cmd); err != nil {
			return guests{}, fmt.Errorf("build %s: %w", source, err)
		}
	}
	return g, nil
}

func build(cmd *exec.Cmd) error {
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}
