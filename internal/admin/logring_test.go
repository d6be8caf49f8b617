package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestALogIsKeptAndReadAlong(t *testing.T) {
	ring := NewLogRing()
	var written bytes.Buffer
	logger := slog.New(ring.Tee(slog.NewTextHandler(&written, nil)))
	logger.Debug("not written, and so not kept")
	logger.With("module", "chat").WithGroup("g").Info("one", "n", 1)
	logger.Warn("two")
	c, _ := newClient(t, Options{Logs: ring})
	read := func(query string) (all []LogRecord) {
		t.Helper()
		response := c.request("GET", "/v1/logs"+query, "")
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		check(t, err)
		for line := range strings.Lines(string(text)) {
			var r LogRecord
			check(t, json.Unmarshal([]byte(line), &r))
			all = append(all, r)
		}
		return all
	}
	for query, want := range map[string]string{"": "one two", "?lines=1": "two", "?level=warn": "two", "?lines=0": "", "?level=error": ""} {
		var got []string
		for _, r := range read(query) {
			got = append(got, r.Message)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if _, reader := ring.read(slog.LevelDebug, 0, false); reader != nil {
		t.Error("nobody wanted to read along")
	}
	for query, want := range map[string]string{"?level=loud": "400 invalid", "?lines=1001": "400 invalid", "?follow=maybe": "400 invalid"} {
		if got := c.fails("GET", "/v1/logs"+query, ""); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}

	response := c.request("GET", "/v1/logs?follow&lines=2&level=info", "")
	defer response.Body.Close()
	next := lines[map[string]any](t, response.Body)
	if first := next(); first["msg"] != "one" || first["module"] != "chat" || first["g"].(map[string]any)["n"] != 1.0 || first["level"] != "INFO" {
		t.Errorf("%v", first)
	}
	next()
	logger.Error("three", "err", "it broke")
	if third := next(); third["msg"] != "three" || third["err"] != "it broke" {
		t.Errorf("%v", third)
	}
	if !strings.Contains(written.String(), "three") {
		t.Error("what is kept is not written any more")
	}
}

func TestALogRingIsBounded(t *testing.T) {
	ring := NewLogRing()
	logger := slog.New(ring.Tee(slog.NewTextHandler(io.Discard, nil)))
	logger.Info("first")
	for range 3 * maxLogRecords {
		logger.Info("short")
	}
	if last, _ := ring.read(slog.LevelDebug, 1<<20, false); len(last) != maxLogRecords {
		t.Errorf("%d records are kept", len(last))
	}
	for range 200 {
		logger.Info("long", "text", strings.Repeat("x", 10<<10))
	}
	last, _ := ring.read(slog.LevelDebug, 1<<20, false)
	if kept := len(bytes.Join(last, nil)); kept > maxLogBytes || kept < maxLogBytes/2 || kept != ring.bytes {
		t.Errorf("%d bytes are kept, and %d counted", kept, ring.bytes)
	}
	logger.Info("too long", "text", strings.Repeat("x", 1<<20))
	last, _ = ring.read(slog.LevelDebug, 1, false)
	var told struct{ Bytes int }
	if err := json.Unmarshal(last[0], &told); err != nil || len(last[0]) > 200 || !strings.Contains(string(last[0]), "too long") || told.Bytes <= 1<<20 {
		t.Errorf("it keeps %q (%v)", last[0], err)
	}
}

func TestALogNeverWaitsForAReader(t *testing.T) {
	ring := NewLogRing()
	logger := slog.New(ring.Tee(slog.NewTextHandler(io.Discard, nil)))
	_, slow := ring.read(slog.LevelInfo, 0, true)
	for range maxLogWaiting + 10 {
		logger.Info("more")
	}
	if n := ring.droppedFor(slow); n != 10 {
		t.Errorf("%d are dropped, want 10", n)
	}
	ring.leave(slow)
	logger.Info("after it has left")
	if n := ring.droppedFor(slow); n != 10 {
		t.Errorf("%d are dropped after it has left", n)
	}
}

func TestManyLogAndManyReadAlong(t *testing.T) {
	ring := NewLogRing()
	logger := slog.New(ring.Tee(slog.NewTextHandler(io.Discard, nil)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { // ends after its records
			for n := range 500 {
				logger.With("n", n).Info("more")
			}
		})
		wg.Go(func() { // ends after its looks
			for range 100 {
				last, reader := ring.read(slog.LevelInfo, 10, true)
				for _, line := range last {
					if !json.Valid(line) {
						t.Errorf("%q", line)
					}
				}
				ring.leave(reader)
			}
		})
	}
	wg.Wait()
}
