package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test binary run one command instead of the tests: what a
// second signal does can only be seen of a process of its own.
const asProgram = "CLI_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	env := realEnv()
	os.Unsetenv("WEIR_REQUIRE_TOOLS") // of the test run; weir does not know it
	env.Args, env.Environ = os.Args[1:], os.Environ()
	env.Stdin, env.Stdout, env.Stderr, env.Terminal = os.Stdin, os.Stdout, os.Stderr, true
	env.Signals, env.Hangups = signals, hangups
	env.CacheDir, _ = os.UserCacheDir() // an error means that there is none
	os.Exit(Run(context.Background(), env))
}
