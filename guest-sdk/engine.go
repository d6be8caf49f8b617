package guestsdk

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
)

// The engine is built by guest-sdk/js/engine/build, before or after weir is. Its name has the digest of its sources, so
// that one of other sources is never taken for it.
var (
	//go:embed js/engine/built
	engines embed.FS
	//go:embed js/engine/build js/engine/*.c js/engine/*.h js/engine/include c/weir_abi.h
	engineSources embed.FS
)

// EngineDigest names the engine that belongs to this SDK: twelve hexadecimal digits of the SHA-256 of its sources, in the
// order in which the file build has them.
func EngineDigest() string {
	h := sha256.New()
	for _, name := range []string{"build", "engine.c", "bindings.h", "alloc.c", "alloc.h", "json.c", "json.h", "script.c", "script.h", "include/setjmp.h", "../../c/weir_abi.h"} {
		source, err := fs.ReadFile(engineSources, path.Join("js/engine", name))
		if err != nil {
			panic("guestsdk: " + err.Error()) // they are embedded
		}
		h.Write(source)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// Engine returns the engine for JavaScript that this program was built with, and false if it was built without: the
// engine is a module that internal/bundle puts scripts into.
func Engine() ([]byte, bool) {
	wasm, err := engines.ReadFile("js/engine/built/engine-" + EngineDigest() + ".wasm")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic("guestsdk: " + err.Error()) // it is embedded
	}
	return wasm, err == nil
}
