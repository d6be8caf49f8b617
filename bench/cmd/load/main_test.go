package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"weir/bench/peers"
)

func TestLoadTellsWhatItSaw(t *testing.T) {
	p, err := peers.Find("gws")
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, workload := range []string{"echo-3x10", "publish-3x10", "idle-5", "connect-5"} {
		var out bytes.Buffer
		err := run(t.Context(), []string{"-workload", workload, "-path", "/publish", "-time", "20ms", "-warmup", "5ms", "-pid", strconv.Itoa(os.Getpid()), s.Addr().String()}, &out)
		if workload == "echo-3x10" || workload == "idle-5" {
			if err == nil {
				t.Errorf("%s: a member's message is taken for an echo", workload)
			}
			out.Reset()
			err = run(t.Context(), []string{"-workload", workload, "-time", "20ms", "-warmup", "5ms", "-pid", strconv.Itoa(os.Getpid()), s.Addr().String()}, &out)
		}
		if err != nil || !strings.Contains(out.String(), workload+": ") || !strings.Contains(out.String(), "µs CPU each") {
			t.Errorf("%s: %v\n%s", workload, err, out.String())
		}
	}
}

func TestLoadRefusesMistakes(t *testing.T) {
	for _, args := range [][]string{{}, {"a", "b"}, {"-workload", "dance", "127.0.0.1:1"}, {"-unknown"}} {
		if err := run(t.Context(), args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
