package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTopicsAreListedByName(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) {
		other := s.modules[0]
		other.Name = "other"
		s.modules = append(s.modules, other)
		s.opts.Routes = []Route{{Path: "/a", Module: "puppet"}, {Path: "/b", Module: "other"}}
	})
	for i := range 30 {
		l.connect(fmt.Sprintf("/a?open=join+all;join+room/%02d;join+side/%d", i, i%3))
		l.connect("/b?open=join+elsewhere")
	}
	names := func(prefix, after string, limit int) (names []string, more bool) {
		t.Helper()
		topics, more, err := l.srv.Topics("puppet", prefix, after, limit)
		check(t, err)
		for _, tp := range topics {
			names = append(names, fmt.Sprintf("%s=%d", tp.Topic, tp.Members))
			if tp.Module != "puppet" {
				t.Errorf("the topic %q is of %q", tp.Topic, tp.Module)
			}
		}
		return names, more
	}
	for name, tc := range map[string]struct {
		prefix, after string
		limit         int
		want          string
		more          bool
	}{
		"the first ones":        {"", "", 3, "all=30 room/00=1 room/01=1", true},
		"those behind":          {"", "room/28", 0, "room/29=1 side/0=10 side/1=10 side/2=10", false},
		"with a prefix":         {"side/", "", 3, "side/0=10 side/1=10 side/2=10", false},
		"a prefix and a page":   {"side/", "side/0", 1, "side/1=10", true},
		"behind the last":       {"", "zzz", 0, "", false},
		"a prefix nobody has":   {"elsewhere", "", 0, "", false},
		"behind all of its own": {"all", "all", 0, "", false},
	} {
		got, more := names(tc.prefix, tc.after, tc.limit)
		if strings.Join(got, " ") != tc.want || more != tc.more {
			t.Errorf("%s: %q, %v, want %q, %v", name, got, more, tc.want, tc.more)
		}
	}
	if all, more := names("", "", maxPage); len(all) != 34 || more {
		t.Errorf("%d topics, %v, want 34", len(all), more)
	}
	l.close()
}

func TestMembersAreListedByID(t *testing.T) {
	l := newLab(t, withoutPings)
	var want []uint64
	for i := range 25 {
		c := l.connect("/?open=join+room")
		if i%2 == 1 {
			c.say("leave room")
			l.settle()
			continue
		}
		want = append(want, uint64(c.conn.id))
	}
	var got []uint64
	for after, more := uint64(0), true; more; {
		ids, further, err := l.srv.TopicMembers("puppet", "room", after, 4)
		check(t, err)
		got, after, more = append(got, ids...), ids[len(ids)-1], further
	}
	if !slices.Equal(got, want) {
		t.Errorf("the members are %v, want %v", got, want)
	}
	if ids, more, err := l.srv.TopicMembers("puppet", "nobody", 0, 0); len(ids) != 0 || more || err != nil {
		t.Errorf("a topic that nobody joined has %v, %v, %v", ids, more, err)
	}
	l.close()
}

func TestAPublishFromOutsideReachesTheMembers(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueSize, s.opts.WebSocket.OutboundQueueMessages = 64<<10, 2 })
	var all []*labClient
	for range fanOutInline + 10 { // some are left to a worker
		all = append(all, l.connect("/?open=join+room"))
	}
	stranger := l.connect("/")
	publish := func(topic string, binary bool, p string) int {
		t.Helper()
		n, err := l.srv.Publish("puppet", topic, binary, []byte(p))
		check(t, err)
		l.settle()
		return n
	}
	if n := publish("room", false, "hellö") + publish("room", true, "\xFF"); n != 2*len(all) {
		t.Errorf("two messages reached %d, want %d", n, 2*len(all))
	}
	for _, c := range all {
		c.want("hellö", "\xFF")
	}
	stranger.want()
	if n := publish("nobody", false, "x"); n != 0 {
		t.Errorf("a topic without members has %d receivers", n)
	}
	slow := all[0]
	slow.stop(0)
	for range 2 {
		publish("room", false, "x")
	}
	if n := publish("room", false, "x"); n != len(all)-1 {
		t.Errorf("a message reached %d, want all %d but one that does not read", n, len(all))
	}
	slow.open()
	l.settle()
	slow.listen()
	slow.wantEnd(codeOverloaded)

	for name, tc := range map[string]struct {
		module, topic string
		binary        bool
		p             string
		want          error
	}{
		"to a module that there is not": {"stranger", "room", false, "x", ErrUnknownModule},
		"to no topic":                   {"puppet", "", false, "x", ErrTopicName},
		"to a topic with a line break":  {"puppet", "a\nb", false, "x", ErrTopicName},
		"of text that is not UTF-8":     {"puppet", "room", false, "\xFF", ErrNotUTF8},
		"larger than a queue":           {"puppet", "room", true, strings.Repeat("x", 64<<10), ErrTooBig},
	} {
		if _, err := l.srv.Publish(tc.module, tc.topic, tc.binary, []byte(tc.p)); !errors.Is(err, tc.want) {
			t.Errorf("a publish %s: %v, want %v", name, err, tc.want)
		}
	}
	if _, _, err := l.srv.Topics("stranger", "", "", 0); !errors.Is(err, ErrUnknownModule) {
		t.Errorf("topics of a module that there is not: %v", err)
	}
	if _, _, err := l.srv.TopicMembers("stranger", "room", 0, 0); !errors.Is(err, ErrUnknownModule) {
		t.Errorf("members of a module that there is not: %v", err)
	}
	if _, _, err := l.srv.TopicMembers("puppet", "\x00", 0, 0); !errors.Is(err, ErrTopicName) {
		t.Errorf("members of what is no topic: %v", err)
	}
	l.close()
}

// TestAnOperatorMayDoAsHeLikes lists, sends, closes and publishes on a real
// server while clients come, talk and go.
func TestAnOperatorMayDoAsHeLikes(t *testing.T) {
	const visitors, visits, operators = 4, 60, 3
	w := start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	stays := w.dial("/?open=join+news")
	stays.want(stays.echo("in"))
	var clients, others sync.WaitGroup
	var done atomic.Bool
	for g := range visitors {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			for range visits {
				if err := w.visit(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	published := make([]int, operators) // messages, by who has published them
	for g := range operators {
		others.Go(func() { // ends when the clients have come and gone
			r := rand.New(rand.NewPCG(seed, uint64(100+g)))
			for !done.Load() {
				conns, _ := w.srv.Connections(ConnFilter{Limit: 1 + r.IntN(20), Topic: []string{"", "a"}[r.IntN(2)]})
				for _, c := range conns {
					if slices.Contains(c.Topics, "news") {
						continue
					}
					var err error
					switch r.IntN(4) {
					case 0:
						err = w.srv.CloseConn(c.ID, 1000, "operator")
					case 1:
						_, err = w.srv.Connection(c.ID)
					default:
						err = w.srv.SendTo(c.ID, true, []byte("operator"))
					}
					if err != nil && !errors.Is(err, ErrUnknownConn) && !errors.Is(err, ErrConnClosing) && !errors.Is(err, ErrQueueFull) {
						t.Error(err)
					}
				}
				topics, _, err := w.srv.Topics("puppet", "", "", 10)
				if err != nil || len(topics) == 0 {
					t.Errorf("topics: %v, %v", topics, err)
				}
				if _, _, err := w.srv.TopicMembers("puppet", "a", 0, 10); err != nil {
					t.Error(err)
				}
				if published[g] < 200 {
					published[g]++
					if n, err := w.srv.Publish("puppet", "news", false, fmt.Appendf(nil, "%d %d", g, published[g])); n != 1 || err != nil {
						t.Errorf("the news reached %d, %v", n, err)
					}
				}
			}
		})
	}
	clients.Wait()
	done.Store(true)
	others.Wait()
	heard := make([]int, operators)
	for range published[0] + published[1] + published[2] {
		var g, n int
		if _, err := fmt.Sscan(stays.hear(), &g, &n); err != nil || n != heard[g]+1 {
			t.Fatalf("word %d of operator %d came after %d, %v", n, g, heard[g], err)
		}
		heard[g] = n
	}
	if !slices.Equal(heard, published) {
		t.Errorf("%v words were heard of %v", heard, published)
	}
	w.until("all but one are gone", func(s Stats) bool { return s.Open == 1 })
}
