package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// noFuelLimit is the most that a configuration may allow a handler.
const noFuelLimit = 1 << 50

// settings are what the configurations of the servers differ in.
type settings struct {
	module   string // file
	metering bool
	deadline time.Duration // of a message
}

// config writes a configuration for weir serve into dir and returns its file. Fuel is out of the way, so that it is
// the deadline that stops a guest; so is the breaker.
func (s settings) config(dir string) (string, error) {
	metering := "off"
	if s.metering {
		metering = "on"
	}
	type object = map[string]any
	text, err := json.MarshalIndent(object{ // which is YAML, too
		"modules": object{"guest": object{
			"path":         s.module,
			"capabilities": []string{"topics"},
			"limits":       object{"fuel": noFuelLimit, "timeout": s.deadline.String()},
			"breaker":      object{"traps": -1},
		}},
		"routes":  []object{{"path": "/{path...}", "module": "guest"}},
		"runtime": object{"metering": metering, "cache_dir": filepath.Join(dir, "cache")},
		"log":     object{"level": "error"},
	}, "", "\t")
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "weir-*.yaml")
	if err != nil {
		return "", err
	}
	if _, err := f.Write(text); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
