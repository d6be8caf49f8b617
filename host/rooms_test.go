package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"weir/pool"
)

// hall is a handful of clients and what should be true of them.
type hall struct {
	l       *lab
	clients []*guest
	former  []int64 // ids of connections that are gone
	said    int
}

// guest is one client of a hall and its model.
type guest struct {
	*labClient
	id     int64
	topics map[string]bool
	state  string
	heard  []string // what it should have heard since it was checked last
	ended  int      // the Close code that it should have got
}

const hallTopics = 3 // websocket.max_topics in these tests

func (h *hall) enter() *guest {
	g := &guest{labClient: h.l.connect("/"), topics: make(map[string]bool)}
	g.id = int64(g.conn.id)
	h.clients = append(h.clients, g)
	return g
}

func (h *hall) members(topic string) (n int) {
	for _, g := range h.clients {
		if g.topics[topic] {
			n++
		}
	}
	return n
}

// script is a random invocation, together with what it does to the model if it
// commits. Commands read the model as it is when they run, their own changes
// included, and so must the handler.
func (h *hall) script(t *rapid.T, speaker *guest) (text string, commit func()) {
	topic := rapid.SampledFrom([]string{"a", "b", "c", "d", "é", strings.Repeat("n", 255)})
	var commands []string
	// The model is changed at once and restored if the invocation fails.
	var undo []func()
	join := func(g *guest, name string) int {
		switch {
		case g.topics[name]:
			return 0
		case len(g.topics) >= hallTopics:
			return -9
		}
		g.topics[name] = true
		undo = append(undo, func() { delete(g.topics, name) })
		return 0
	}
	leave := func(g *guest, name string) int {
		if !g.topics[name] {
			return -7
		}
		delete(g.topics, name)
		undo = append(undo, func() { g.topics[name] = true })
		return 0
	}
	type delivery struct {
		to   *guest
		text string
	}
	var deliveries []delivery
	tell := func(g *guest, text string) { deliveries = append(deliveries, delivery{g, text}) }
	status := func(n int) { tell(speaker, "status="+strconv.Itoa(n)) }

	for range rapid.IntRange(1, 6).Draw(t, "commands") {
		h.said++
		word := "w" + strconv.Itoa(h.said)
		name := topic.Draw(t, "topic")
		peer := rapid.SampledFrom(h.clients).Draw(t, "peer")
		command := rapid.SampledFrom([]string{"join", "join", "join", "leave", "joinid", "leaveid", "publish", "publish", "publishx", "count", "echo", "send", "set", "get", "gone"}).Draw(t, "command")
		switch command {
		case "join":
			command = "?join " + name
			status(join(speaker, name))
		case "leave":
			command = "?leave " + name
			status(leave(speaker, name))
		case "joinid":
			command = fmt.Sprintf("?joinid %d %s", peer.id, name)
			status(join(peer, name))
		case "leaveid":
			command = fmt.Sprintf("?leaveid %d %s", peer.id, name)
			status(leave(peer, name))
		case "publish", "publishx":
			for _, g := range h.clients {
				if g.topics[name] && (command == "publish" || g != speaker) {
					tell(g, word)
				}
			}
			command += " " + name + " " + word
		case "count":
			command = "count " + name
			tell(speaker, "count="+strconv.Itoa(h.members(name)))
		case "echo":
			command = "echo " + word
			tell(speaker, word)
		case "send":
			command = fmt.Sprintf("send %d %s", peer.id, word)
			tell(peer, word)
		case "set":
			command = "set " + word
			before := speaker.state
			speaker.state = word
			undo = append(undo, func() { speaker.state = before })
		case "get":
			command = "get"
			tell(speaker, speaker.state)
		case "gone":
			if len(h.former) == 0 {
				continue
			}
			id := rapid.SampledFrom(h.former).Draw(t, "former")
			command = fmt.Sprintf("?%s %d %s", rapid.SampledFrom([]string{"joinid", "leaveid", "send"}).Draw(t, "verb"), id, name)
			status(-1)
		}
		commands = append(commands, command)
	}
	end := rapid.SampledFrom([]string{"", "", "", "", "", "trap", "fail 9"}).Draw(t, "end")
	if end == "" {
		return strings.Join(commands, ";"), func() {
			for _, d := range deliveries {
				d.to.heard = append(d.to.heard, d.text)
			}
		}
	}
	slices.Reverse(undo)
	for _, f := range undo {
		f()
	}
	return strings.Join(append(commands, end), ";"), func() {
		speaker.ended = codeInternal
		h.gone(speaker)
	}
}

// gone takes g out of the model.
func (h *hall) gone(g *guest) {
	clear(g.topics)
	h.former = append(h.former, g.id)
	h.clients = slices.DeleteFunc(h.clients, func(o *guest) bool { return o == g })
}

func TestTopicsAndEffectsBehaveLikeAMapThatCommitsOrNot(t *testing.T) {
	var l *lab
	rapid.Check(t, func(t2 *rapid.T) {
		if l == nil {
			l = newLab(t, func(s *setup) { s.opts.WebSocket.MaxTopics = hallTopics })
		}
		used := l
		l = nil // a failure leaves it in any state
		h := &hall{l: used}
		var left []*guest
		h.enter()
		t2.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				if len(h.clients) < 6 {
					h.enter()
				}
			},
			"say": func(t *rapid.T) {
				if len(h.clients) == 0 {
					t.Skip("nobody")
				}
				used.tenant("puppet").rule.Load().stable.pace.quick.Store(rapid.Bool().Draw(t, "inline"))
				g := rapid.SampledFrom(h.clients).Draw(t, "speaker")
				script, commit := h.script(t, g)
				g.say(script)
				used.settle()
				if commit(); g.ended != 0 {
					left = append(left, g)
					g.hangUp()
					used.settle()
				}
			},
			"drop": func(t *rapid.T) {
				if len(h.clients) == 0 {
					t.Skip("nobody")
				}
				g := rapid.SampledFrom(h.clients).Draw(t, "client")
				switch rapid.IntRange(0, 2).Draw(t, "how") {
				case 0:
					g.write(frame(0x88, ""))
					g.hangUp()
				case 1:
					g.hangUp()
				default:
					g.reset()
				}
				used.settle()
				h.gone(g)
				left = append(left, g)
			},
			"": func(t *rapid.T) {
				for _, g := range append(slices.Clone(h.clients), left...) {
					g.t = t
					if got := g.texts(); !slices.Equal(got, g.heard) {
						t.Fatalf("%d heard %q, want %q", g.id, got, g.heard)
					}
					g.heard = nil
					if g.ended != 0 {
						g.wantEnd(g.ended)
					}
				}
				h.checkIndex(t)
			},
		})
		for _, w := range used.wires {
			w.hangUp()
		}
		used.settle()
		if n := len(used.tenant("puppet").topics.topics); n != 0 {
			t2.Fatalf("%d topics are left without members", n)
		}
		used.wires = nil
		l = used
	})
	if l != nil {
		l.close()
	}
}

// checkIndex compares the index with the model, in both directions.
func (h *hall) checkIndex(t *rapid.T) {
	x := &h.l.tenant("puppet").topics
	memberships := 0
	for name, tp := range x.topics {
		if len(tp.members) == 0 || tp.gone || tp.name != name {
			t.Fatalf("topic %q: %d members, gone %v, name %q", name, len(tp.members), tp.gone, tp.name)
		}
		for i, m := range tp.members {
			if m.index != i || m.topic != tp || !slices.Contains(m.conn.more.joined, m) {
				t.Fatalf("topic %q: place %d is inconsistent", name, i)
			}
		}
		memberships += len(tp.members)
	}
	for _, g := range h.clients {
		for name := range g.topics {
			memberships--
			if !g.conn.inTopic([]byte(name)) || x.topics[name] == nil {
				t.Fatalf("%d is not in %q", g.id, name)
			}
		}
	}
	if memberships != 0 {
		t.Fatalf("%d memberships too many", memberships)
	}
}

func TestTopicLimits(t *testing.T) {
	l := newLab(t)
	c := l.connect("/")
	for i := range 128 {
		if got := c.ask(fmt.Sprintf("?join t%d", i)); got != "status=0" {
			t.Fatalf("topic %d: %s", i, got)
		}
	}
	for script, want := range map[string]string{
		"?join one more":                     "status=-9",
		"?join t5":                           "status=0", // it is a member already
		"?join " + strings.Repeat("n", 256):  "status=-6",
		"?join ":                             "status=-6",
		"?join nul\x00":                      "status=-6",
		"?join tab\t":                        "status=-6",
		"?join line\n":                       "status=-6",
		"?join del\x7f":                      "status=-6",
		"?leave never joined":                "status=-7",
		"?leave " + strings.Repeat("n", 256): "status=-6",
		"?publish a\x01b x":                  "status=-6",
		"?joinid 77 t":                       "status=-1",
		"count nul\x00":                      "count=-6",
		"count nobody":                       "count=0",
	} {
		if got := c.ask(script); got != want {
			t.Errorf("%q: %s, want %s", script, got, want)
		}
	}
	// Room that the same invocation makes counts.
	if got := c.ask("leave t0;?join " + strings.Repeat("é", 127)); got != "status=0" {
		t.Errorf("a topic of 254 bytes in the place of another: %s", got)
	}
	if got := c.ask("?join t0"); got != "status=-9" {
		t.Errorf("one more after that: %s", got)
	}
	c.leave()
	l.close() // also checks that no topic is left
}

func TestAPublishToManyReachesEachOnce(t *testing.T) {
	const members = 4*fanOutInline*2 + 7 // several turns of the fan-out
	l := newLab(t)
	var all []*labClient
	for range members {
		all = append(all, l.connect("/?open=join+big"))
	}
	for i := range 3 {
		all[i].say(fmt.Sprintf("publish big all%d;publishx big others%d", i, i))
		l.settle()
	}
	for i, c := range all {
		var want []string
		for j := range 3 {
			want = append(want, fmt.Sprintf("all%d", j))
			if i != j {
				want = append(want, fmt.Sprintf("others%d", j))
			}
		}
		c.want(want...)
	}
	if got := all[0].number("count big"); got != members {
		t.Errorf("count=%d, want %d", got, members)
	}
	l.close()
}

// orderly checks what one client hears of topics: between joining and left every
// publisher's words come in order and without a gap; outside none comes.
type orderly struct {
	inside bool
	last   map[string]int
	words  int
}

func (o *orderly) hear(text string) error {
	switch text {
	case "joining":
		o.inside, o.last = true, make(map[string]int)
		return nil
	case "left":
		o.inside = false
		return nil
	}
	publisher, digits, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return fmt.Errorf("unexpected %q", text)
	}
	if !o.inside {
		return fmt.Errorf("%q came although the client is not a member", text)
	}
	if last, ok := o.last[publisher]; ok && n != last+1 {
		return fmt.Errorf("after word %d of %s came %d", last, publisher, n)
	}
	o.last[publisher] = n
	o.words++
	return nil
}

func TestMembersHearEveryPublisherInOrderAndOnlyWhileTheyAreMembers(t *testing.T) {
	const publishers, members, rounds = 3, 5, 60
	l := newLab(t, func(s *setup) {
		s.opts.WebSocket.OutboundQueueMessages = 100_000
		s.opts.WebSocket.OutboundQueueSize = 64 << 20
	})
	stop := l.threads(pool.Options{Workers: 4})
	shard := newShard()
	var all []*labClient
	for range publishers + members {
		c := l.knock()
		shard.watch(c.wire)
		c.write(upgradeHead)
		all = append(all, c)
	}
	for _, c := range all {
		eventually(t, "the upgrade", func() bool { c.buf = append(c.buf, c.take()...); return len(c.buf) > 0 })
		c.upgraded()
	}
	for p, c := range all[:publishers] {
		n := 0
		for range rounds {
			var script []string
			for range 3 {
				script = append(script, fmt.Sprintf("publish r %d:%d", p, n))
				n++
			}
			c.say(strings.Join(script, ";"))
		}
	}
	for _, c := range all[publishers:] {
		for range rounds / 2 {
			c.say("echo joining;join r")
			c.say("count r")
			c.say("leave r;echo left")
		}
	}
	for _, c := range all[publishers:] {
		o := &orderly{}
		lefts := 0
		eventually(t, "every leave", func() bool {
			for _, text := range c.texts() {
				if strings.HasPrefix(text, "count=") {
					continue
				}
				if text == "left" {
					lefts++
				}
				if err := o.hear(text); err != nil {
					t.Fatal(err)
				}
			}
			return lefts == rounds/2
		})
	}
	for _, c := range all {
		c.hangUp()
	}
	eventually(t, "the end", func() bool { return l.srv.Stats().Open == 0 })
	shard.stop()
	stop()
	l.srv.exec = l.tasks
	l.close()
}

func TestOthersMayChangeAMembershipAtTheSameTime(t *testing.T) {
	l := newLab(t)
	c := l.connect("/")
	x := &l.tenant("puppet").topics
	name := []byte("contested")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 2000 {
				x.join(c.conn, name)
				x.leave(c.conn, name)
			}
		})
	}
	wg.Go(func() {
		for range 2000 {
			if n := x.count(name); n > 1 {
				t.Errorf("one connection is in the topic %d times", n)
				return
			}
		}
	})
	wg.Wait()
	if n := x.count(name); n != 0 {
		t.Errorf("%d memberships after everybody took it out", n)
	}
	l.close()
}
