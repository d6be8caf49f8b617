package sim

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestFaultsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, f := range []Faults{NoFaults, Split, Split | Delay, AllFaults, Failures | Resets} {
		got, err := ParseFaults(f.String())
		if err != nil || got != f {
			t.Errorf("%v is read as %v, error %v", f, got, err)
		}
	}
	if f, err := ParseFaults("all"); err != nil || f != AllFaults {
		t.Errorf("all is read as %v, error %v", f, err)
	}
	if _, err := ParseFaults("split+dely"); err == nil || !strings.Contains(err.Error(), `"dely"`) {
		t.Errorf("the error %v does not name the word", err)
	}
}

func TestASwarmHasEveryFaultAndNoOther(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var on, off Faults
	allowed := AllFaults &^ Stale
	for range 200 {
		f := allowed.swarm(rng)
		on |= f
		off |= allowed &^ f
	}
	if on != allowed || off != allowed {
		t.Errorf("of %v, %v were on at times and %v off", allowed, on, off)
	}
}
