package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// source is the description, relative to the repository.
const source = "guest-sdk/abi.toml"

func main() {
	check := flag.Bool("check", false, "write nothing; fail when a generated file has drifted from "+source)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "gen: unexpected argument %q; usage: go run ./guest-sdk/gen [-check]\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(*check, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(check bool, out io.Writer) error {
	root, err := repository()
	if err != nil {
		return err
	}
	files, err := generate(root)
	if err != nil {
		return err
	}
	if check {
		return checkFiles(root, files, out)
	}
	return writeFiles(root, files, out)
}

// file is one generated file, with its path relative to the repository.
type file struct {
	path string
	text []byte
}

// generate renders every file from the abi.toml of the repository at root.
func generate(root string) ([]file, error) {
	text, err := os.ReadFile(filepath.Join(root, source))
	if err != nil {
		return nil, err
	}
	t, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}

	var files []file
	for _, target := range []struct {
		path   string
		render func(*table) ([]byte, error)
	}{
		{"runtime/abi_gen.go", renderHost},
		{"guest-sdk/go/abi_gen.go", renderGo},
		{"guest-sdk/go/imports_wasm_gen.go", renderGoImports},
		{"guest-sdk/go/imports_native_gen.go", renderGoNative},
		{"guest-sdk/go/internal/native/host_gen.go", renderGoNativeHost},
		{"guest-sdk/c/weir_abi.h", renderC},
		{"guest-sdk/rust/src/abi.rs", renderRust},
		{"guest-sdk/rust/src/abi.rs", renderRust},
		{"guest-sdk/assemblyscript/assembly/abi.ts", renderAssemblyScript},
		{"guest-sdk/js/abi.mjs", renderJS},
	} {
		rendered, err := target.render(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target.path, err)
		}
		files = append(files, file{target.path, rendered})
	}

	const page = "guest-sdk/ABI.md"
	text, err = os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, err
	}
	rendered, err := renderPage(t, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", page, err)
	}
	return append(files, file{page, rendered}), nil
}

// writeFiles writes the files that differ from what is there, and names them.
func writeFiles(root string, files []file, out io.Writer) error {
	for _, f := range files {
		path := filepath.Join(root, f.path)
		if have, err := os.ReadFile(path); err == nil && string(have) == string(f.text) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(out, "wrote", f.path)
	}
	return nil
}

// checkFiles compares the files with what is there, and shows where they drift.
func checkFiles(root string, files []file, out io.Writer) error {
	drifted := 0
	for _, f := range files {
		have, err := os.ReadFile(filepath.Join(root, f.path))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(out, "%s is missing\n", f.path)
		case err != nil:
			return err
		case string(have) == string(f.text):
			continue
		default:
			fmt.Fprintf(out, "%s differs from %s\n%s", f.path, source, summarize(string(have), string(f.text)))
		}
		drifted++
	}
	if drifted > 0 {
		return fmt.Errorf("%d of %d files have drifted; `go run ./guest-sdk/gen` writes them again", drifted, len(files))
	}
	return nil
}

// maxShown bounds the lines that summarize prints of each side.
const maxShown = 12

// summarize shows the stretch of lines in which two texts differ: what is there (-) and what should be (+).
func summarize(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var s strings.Builder
	fmt.Fprintf(&s, "  from line %d:\n", head+1)
	show := func(sign string, lines []string) {
		for i, line := range lines {
			if i == maxShown {
				fmt.Fprintf(&s, "  %s … %d more lines\n", sign, len(lines)-maxShown)
				return
			}
			fmt.Fprintf(&s, "  %s %s\n", sign, line)
		}
	}
	show("-", a[head:len(a)-tail])
	show("+", b[head:len(b)-tail])
	return s.String()
}

// repository finds the folder of the module weir, from the working directory upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module weir\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside weir's repository", dir)
		}
	}
}
