package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// writeConfig writes a configuration for weir serve into dir and returns its file.
func writeConfig(dir, module string) (string, error) {
	type object = map[string]any
	text, err := json.MarshalIndent(object{ // which is YAML, too
		"modules": object{"stamp": object{"path": module}},
		"routes":  []object{{"path": "/{path...}", "module": "stamp"}},
		"runtime": object{"cache_dir": filepath.Join(dir, "cache")},
		"log":     object{"level": "info", "format": "json"},
	}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "weir.yaml")
	return file, os.WriteFile(file, text, 0o644)
}

// reload is a line of the server's log: one generation has taken over.
type reload struct {
	Time       time.Time     `json:"time"`
	Message    string        `json:"msg"`
	Generation uint64        `json:"gen"`
	Load       time.Duration `json:"load"`
	Swap       time.Duration `json:"swap"`
}

// reloads finds them in what the server has logged.
func reloads(said []byte) (all []reload) {
	for line := range bytes.Lines(said) {
		var r reload
		if json.Unmarshal(line, &r) == nil && r.Message == "module reloaded" {
			all = append(all, r)
		}
	}
	return all
}
