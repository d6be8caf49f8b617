package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/pool"
)

func testProfile() Profile { return Profile{Guest: puppetWasm, Engine: testEngine()} }

// shape is the profile that TestRandomSeeds plays a seed with: mostly many
// clients and some of the faults, at times all faults, at times a few clients
// that do much.
func shape(seed uint64) Profile {
	p := testProfile()
	switch seed % 8 {
	case 3:
		p.All = true
	case 1, 5:
		p.Swaps = true
	case 7:
		p.Clients, p.Events = 3, 400
	}
	return p
}

// setting reads a number from the environment: WEIR_SIM_SEEDS says how many
// seeds to play, WEIR_SIM_FROM where to begin.
func setting(t *testing.T, name string, standard uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return standard
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestRandomSeeds plays seeds one after another. A soak is the same with more:
//
//	WEIR_SIM_SEEDS=100000 WEIR_SIM_FROM=$RANDOM go test -timeout 0 -run TestRandomSeeds ./internal/sim
//
// A seed that fails gets a file in testdata/seeds, and is played for ever after.
func TestRandomSeeds(t *testing.T) {
	from, n := setting(t, "WEIR_SIM_FROM", 1), setting(t, "WEIR_SIM_SEEDS", 1000)
	if testing.Short() {
		n = min(n, 100)
	}
	before := pool.BufStats()
	start := time.Now()
	failed := 0
	for seed := from; seed < from+n && failed < 3; seed++ {
		if err := Run(seed, shape(seed)); err != nil {
			failed++
			t.Errorf("%v\n\nto repeat: WEIR_SIM_FROM=%d WEIR_SIM_SEEDS=1 go test -run TestRandomSeeds ./internal/sim", err, seed)
		}
	}
	if after := pool.BufStats(); failed == 0 && (after.Count != before.Count || after.Bytes != before.Bytes) {
		t.Errorf("%d buffers (%d bytes) are still lent out, %d (%d bytes) were before", after.Count, after.Bytes, before.Count, before.Bytes)
	}
	t.Logf("%d seeds in %v", n, time.Since(start).Round(time.Millisecond))
}

// Files of testdata/seeds are named by the seed; a line each says how the run
// differs from the standard profile ("events 400", "faults split+delay",
// "clients 3", "all"), and what is behind '#' is what it once found.
func TestSeedsThatOnceFailed(t *testing.T) {
	files, err := filepath.Glob("testdata/seeds/*")
	check(t, err)
	if len(files) == 0 {
		t.Fatal("testdata/seeds is empty")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			seed, p, err := readSeed(file)
			check(t, err)
			check(t, Run(seed, p))
		})
	}
}

func readSeed(file string) (seed uint64, p Profile, err error) {
	p = testProfile()
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	if seed, err = strconv.ParseUint(name, 10, 64); err != nil {
		return 0, p, fmt.Errorf("%s: the name is not a seed: %w", file, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, p, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "":
		case "all":
			p.All = true
		case "faults":
			p.Faults, err = ParseFaults(value)
		case "clients":
			p.Clients, err = strconv.Atoi(value)
		case "events":
			p.Events, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%q is not known; known are all, faults, clients, events", key)
		}
		if err != nil {
			return 0, p, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	return seed, p, nil
}

func TestASeedIsAWholeRun(t *testing.T) {
	p := testProfile()
	p.All = true
	seen := make(map[uint64]uint64)
	for seed := uint64(1); seed <= 40; seed++ {
		first, err := run(seed, p)
		check(t, err)
		second, err := run(seed, p)
		check(t, err)
		if a, b := first.w.trace, second.w.trace; a != b {
			t.Fatalf("seed %d made two different runs: %d events with hash %x, and %d with %x", seed, a.count, a.hash, b.count, b.hash)
		}
		if other, twice := seen[first.w.Hash()]; twice {
			t.Errorf("seeds %d and %d made the same run", other, seed)
		}
		seen[first.w.Hash()] = seed
	}
}

func TestASeedIsTheSameRunOnAnEngineOfItsOwn(t *testing.T) {
	p := testProfile()
	shared, err := run(7, p)
	check(t, err)
	p.Engine = nil
	own, err := run(7, p)
	check(t, err)
	if shared.w.Hash() != own.w.Hash() {
		t.Errorf("the hash is %x on a shared engine and %x on one of its own", shared.w.Hash(), own.w.Hash())
	}
}

func TestTheErrorOfARunTellsHowToRepeatIt(t *testing.T) {
	p := testProfile()
	p.mutate = effectsAnyway
	p.All = true
	for seed := uint64(1); seed < 50; seed++ {
		err := Run(seed, p)
		if err == nil {
			continue
		}
		for _, want := range []string{fmt.Sprintf("seed %d at ", seed), "traffic:", "last events:", "never"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in:\n%v", want, err)
			}
		}
		return
	}
	t.Error("no seed has failed")
}

func BenchmarkRun(b *testing.B) {
	p := testProfile()
	p.All = true
	b.ReportAllocs()
	seed := uint64(0)
	for b.Loop() {
		seed++
		check(b, Run(seed, p))
	}
}
