package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/weirtest"
)

// TestTheFakeServerPassesTheVectors holds package weirtest to what a real server does.
func TestTheFakeServerPassesTheVectors(t *testing.T) {
	file, err := os.Open("../vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var name string
	var steps []string
	play := func() {
		if name != "" {
			t.Run(name, func(t *testing.T) { playVectors(t, steps) })
		}
		steps = nil
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if next, ok := strings.CutPrefix(line, "scenario "); ok {
			play()
			name = next
		} else if line != "" && !strings.HasPrefix(line, "#") {
			steps = append(steps, fmt.Sprintf("%d %s", n, line))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	play()
}

func playVectors(t *testing.T, steps []string) {
	options := weirtest.Options{Metrics: []string{"declared"}}
	var s *weirtest.Server
	clients := map[string]*weirtest.Client{}
	request := weirtest.Request{Header: http.Header{}}
	config, kept = nil, nil
	for _, step := range steps {
		at, line, _ := strings.Cut(step, " ")
		f := strings.Split(line, " ")
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("vectors.txt:%s: %s: %s", at, line, fmt.Sprintf(format, args...))
		}
		switch f[0] {
		case "config":
			options.Config = string(data(f[1]))
			continue
		case "deny":
			options.Deny = append(options.Deny, f[1])
			if f[1] == "metrics" {
				options.Metrics = nil
			}
			continue
		case "keep":
			options.KeepHeaders = append(options.KeepHeaders, f[1])
			continue
		case "route":
			options.Route = f[1]
			continue
		case "key":
			options.Key = f[1]
			continue
		}
		if s == nil {
			s = weirtest.New(t, options)
		}
		switch f[0] {
		case "header":
			request.Header.Add(f[1], string(data(f[2])))
		case "offer":
			request.Protocols = append(request.Protocols, f[1])
		case "open", "refused":
			request.Target = f[2]
			client, response := s.Dial(request)
			want := "101"
			if f[0] == "refused" {
				want = f[3]
			}
			if got := fmt.Sprint(response.Status); got != want {
				fail("got %s", got)
			}
			clients[f[1]], request = client, weirtest.Request{Header: http.Header{}}
		case "send":
			clients[f[1]].Send(weir.Message{Kind: kind(f[2]), Data: data(f[3])})
		case "expect":
			m, ok := clients[f[1]].Receive()
			if f[2] != "close" {
				if !ok || m.Kind != kind(f[2]) || string(m.Data) != string(data(f[3])) {
					fail("got kind %d %q", m.Kind, m.Data)
				}
				continue
			}
			why, closed := clients[f[1]].Closed()
			if ok || !closed || fmt.Sprint(why.Code) != f[3] || len(f) > 4 && why.Reason != string(data(f[4])) {
				fail("got %q, %v, %+v", m.Data, closed, why)
			}
		case "silence":
			for name, client := range clients {
				if len(f) > 1 && name != f[1] {
					continue
				}
				if m, ok := client.Receive(); ok {
					fail("%s got %q", name, m.Data)
				}
			}
		case "close":
			clients[f[1]].Close(int(number(f[2])), string(data(f[3])))
		case "abort":
			clients[f[1]].Drop()
		case "advance":
			s.Advance(time.Duration(number(f[1])) * time.Millisecond)
		case "drain":
			s.Drain(time.Duration(number(f[1])) * time.Millisecond)
		case "replace":
			if !s.Replace(func() { config, kept = nil, nil }) {
				fail("the new version is not taken")
			}
		default:
			fail("unknown step")
		}
	}
}
