package conformance

import (
	"context"
	"fmt"
	"os"
	"testing"

	"weir/internal/scenario"
)

// TestAnEchoByHandPassesWhatOthersPass plays the echo in WebAssembly's text, which docs/abi.md builds up, in both engines.
func TestAnEchoByHandPassesWhatOthersPass(t *testing.T) {
	for _, interpreter := range []bool{false, true} {
		t.Run(fmt.Sprintf("interpreter %v", interpreter), func(t *testing.T) {
			engine, err := scenario.NewEngine(scenario.EngineOptions{Interpreter: interpreter})
			if err != nil {
				t.Fatal(err)
			}
			f, err := scenario.Load("../../examples/echo-wat/scenarios/echo.yaml", os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			results := f.Run(context.Background(), scenario.Options{Engine: engine}).Results
			if len(results) < 6 {
				t.Errorf("%d scenarios were played", len(results))
			}
			for _, r := range results {
				if !r.Passed() {
					t.Errorf("%s: %v", r.Name, describe(r))
				}
			}
			if err := engine.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
