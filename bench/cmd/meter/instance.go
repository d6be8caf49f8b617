package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// instance is how long it takes from the discard of an instance until another is ready.
type instance struct {
	Guest  string    `json:"guest"`
	Micros []float64 `json:"us"` // one for each round
}

// instantiate is the benchmark of the project's runtime that measures it, in the package below.
const (
	instantiate        = "BenchmarkInstantiate"
	instantiatePackage = "./runtime"
)

// instances runs that benchmark; root is the project's folder.
func (o options) instances(ctx context.Context, root string) ([]instance, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+instantiate+"$",
		"-count", strconv.Itoa(o.rounds), "-benchtime", "100ms", "-cpu", strconv.Itoa(o.procs), instantiatePackage)
	cmd.Dir = root
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", instantiate, err, text)
	}
	all := parseBenchmark(text)
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: it printed no results\n%s", instantiate, text)
	}
	return all, nil
}

// benchmarkLine is BenchmarkInstantiate/NAME-CPUS, iterations, and nanoseconds of one.
var benchmarkLine = regexp.MustCompile(`^` + instantiate + `/(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

// parseBenchmark gathers the results by guest, in the order of their first.
func parseBenchmark(text []byte) []instance {
	var all []instance
	at := make(map[string]int)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		m := benchmarkLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		nanos, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			continue
		}
		i, known := at[m[1]]
		if !known {
			i = len(all)
			at[m[1]], all = i, append(all, instance{Guest: m[1]})
		}
		all[i].Micros = append(all[i].Micros, nanos/1e3)
	}
	return all
}
