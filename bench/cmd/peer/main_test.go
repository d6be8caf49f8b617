package main

import (
	"bytes"
	"strings"
	"testing"

	"weir/bench/peers"
)

func TestListNamesEveryPeer(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"list"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers.All() {
		if !strings.Contains(out.String(), p.Name+" ") {
			t.Errorf("%s is missing", p.Name)
		}
	}
}

func TestPeerRefusesMistakes(t *testing.T) {
	for _, args := range [][]string{{}, {"nobody"}, {"gws", "-unknown"}, {"gws", "--listen", "nowhere"}} {
		if err := run(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
