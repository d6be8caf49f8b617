package wasm

import (
	"context"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(jailVariable) != "" {
		os.Exit(jail())
	}
	goleak.VerifyTestMain(m)
}

// jailVariable in the environment makes the test binary compile the module on its standard input, and nothing else.
const jailVariable = "WEIR_WASM_TEST_JAIL"

// Exit codes of the jail.
const (
	jailCompiled = 0
	jailRefused  = 10 // the engine returned an error
	jailBroken   = 11 // the jail could not be built
)

func compile(file []byte) error {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	defer func() { _ = rt.Close(ctx) }()
	_, err := rt.CompileModule(ctx, file)
	return err
}
