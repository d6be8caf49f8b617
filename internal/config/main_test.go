package config

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files and docs/config.md instead of comparing them")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
