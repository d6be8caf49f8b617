package chart

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() Chart {
	return Chart{
		Title:    "Server CPU per echo",
		Subtitle: "shorter is better",
		Unit:     "µs",
		Footer:   []string{"raw <floor> & others", "second line"},
		Panels: []Panel{
			{Title: "1000 connections × 128 B", Line: 6, Bars: []Bar{
				{Label: "raw", Value: 6, Min: 5.5, Max: 7, Tone: Faint},
				{Label: "weir", Value: 7.25, Min: 7, Max: 8, Tone: Strong},
				{Label: "gws", Value: 12.5, Min: 12.5, Max: 12.5},
			}},
			{Title: "nothing was measured"},
		},
	}
}

func TestSVGMatchesItsGoldenFile(t *testing.T) {
	const path = "testdata/sample.svg"
	got := sample().SVG()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; look at it after go test -update\n%s", path, got)
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(sample().SVG()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0.456: "0.46", 7: "7.00", 12.34: "12.3", 143.4: "143"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %q, want %q", v, got, want)
		}
	}
}
