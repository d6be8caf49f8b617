package guestsdk

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed all:templates
var templates embed.FS

// The C SDK is a few headers. The Go SDK is a module of its own, which go:embed
// does not reach into, so it is packed: go generate writes the archive, and
// TestTheGoSDKIsCurrent compares it with the source.
//
//go:generate go test . -run TestTheGoSDKIsCurrent -update
var (
	//go:embed c/*.h c/README.md
	sdkC embed.FS
	//go:embed assemblyscript/*.ts assemblyscript/abi.mjs assemblyscript/asconfig.json assemblyscript/package.json assemblyscript/README.md
	//go:embed assemblyscript/assembly assemblyscript/testing
	sdkAssemblyScript embed.FS
	//go:embed rust/Cargo.toml rust/README.md rust/src/*.rs
	sdkRust embed.FS
	//go:embed js/*.mjs js/*.d.ts js/package.json js/README.md js/testing/*.mjs js/testing/*.d.ts
	sdkJS embed.FS
	//go:embed sdk_go.zip
	sdkGo []byte
)

// Languages lists what Template and SDK know, in the order in which people are
// told of them.
func Languages() []string { return []string{"go", "c", "rust", "assemblyscript", "ts"} }

// Template is a new project in language: text/template files named *.tmpl, whose
// paths without that ending are those of the project. They use {{.Name}}, the
// name of the project and of its module. An unknown language is an error.
func Template(language string) (fs.FS, error) {
	if !slices.Contains(Languages(), language) {
		return nil, fmt.Errorf("guestsdk: no template for %q", language)
	}
	return fs.Sub(templates, "templates/"+language)
}

// SDK is what the folder sdk of such a project holds: the source without its
// tests. An unknown language is an error.
func SDK(language string) (fs.FS, error) {
	switch language {
	case "c":
		return fs.Sub(sdkC, "c")
	case "assemblyscript":
		return fs.Sub(sdkAssemblyScript, "assemblyscript")
	case "rust":
		return fs.Sub(sdkRust, "rust")
	case "ts":
		return fs.Sub(sdkJS, "js")
	case "go":
		return zip.NewReader(bytes.NewReader(sdkGo), int64(len(sdkGo)))
	}
	return nil, fmt.Errorf("guestsdk: no SDK for %q", language)
}
