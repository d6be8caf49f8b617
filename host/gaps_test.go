package host

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/netpoll"
	"weir/pool"
)

// withPolicy gives topics "r" and "old…" drop_oldest, "new…" conflate.
func withPolicy(s *setup) {
	s.modules[0].Topics = []TopicPolicy{
		{Pattern: "r", WhenSlow: "drop_oldest"},
		{Pattern: "old*", WhenSlow: "drop_oldest"},
		{Pattern: "new*", WhenSlow: "conflate"},
	}
}

// follower checks what one member of topics hears: messages "TOPIC NUMBER …" of
// each topic in order, and where some are missing a notice of exactly those.
type follower struct {
	next    map[string]uint64 // number of the message that must come next
	notices uint64
	lost    uint64
	firm    []string // everything else
}

type gapNotice struct {
	Weir              string
	Topic             string
	From, To, Dropped uint64
}

func (f *follower) hear(text string) error {
	if f.next == nil {
		f.next = make(map[string]uint64)
	}
	if strings.HasPrefix(text, "{") {
		var gap gapNotice
		if err := json.Unmarshal([]byte(text), &gap); err != nil || gap.Weir != "gap" {
			return fmt.Errorf("a notice that is none: %s", text)
		}
		if want := f.next[gap.Topic] + 1; gap.From != want || gap.To < gap.From || gap.Dropped != gap.To-gap.From+1 {
			return fmt.Errorf("%s, and %d is missing first", text, want)
		}
		f.next[gap.Topic] = gap.To
		f.notices++
		f.lost += gap.Dropped
		return nil
	}
	topic, rest, _ := strings.Cut(text, " ")
	digits, _, _ := strings.Cut(rest, " ")
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		f.firm = append(f.firm, text)
		return nil
	}
	if f.next[topic]++; f.next[topic] != number {
		return fmt.Errorf("%s heard message %d, and %d must come", topic, number, f.next[topic])
	}
	return nil
}

func (f *follower) hearAll(t *testing.T, texts []string) {
	t.Helper()
	for _, text := range texts {
		if err := f.hear(text); err != nil {
			t.Fatal(err)
		}
	}
}

// newsroom publishes numbered messages.
type newsroom struct {
	l    *lab
	from *labClient
	said map[string]uint64
}

func (n *newsroom) publish(topic string, size int) {
	n.said[topic]++
	text := fmt.Sprintf("%s %d ", topic, n.said[topic])
	n.from.say("publish " + topic + " " + text + strings.Repeat("x", max(size-len(text), 0)))
	n.l.settle()
}

func newNewsroom(l *lab) *newsroom {
	return &newsroom{l: l, from: l.connect("/"), said: make(map[string]uint64)}
}

func TestASlowReaderOfADropOldestTopicStaysAndIsToldOfEveryGap(t *testing.T) {
	for _, tc := range []struct {
		name       string
		size, room int
	}{
		{"too many bytes", 5000, 0}, {"too many bytes, some of a frame taken", 5000, 9},
		{"too many frames", 10, 0}, {"too many frames, some taken", 10, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withPolicy, withoutPings, func(s *setup) {
				s.opts.WebSocket.OutboundQueueSize = 100_000
				s.opts.WebSocket.OutboundQueueMessages = 64
			})
			slow, good := l.connect("/?open=join+r"), l.connect("/?open=join+r")
			n := newNewsroom(l)
			var atSlow, atGood follower
			for range 5 {
				slow.stop(tc.room)
				for range 300 {
					n.publish("r", tc.size)
					if waits := l.srv.Stats().OutboundBytes; waits > 100_200 {
						t.Fatalf("%d bytes wait", waits)
					}
				}
				atGood.hearAll(t, good.texts())
				slow.open()
				l.settle()
				atSlow.hearAll(t, slow.texts())
			}
			if atGood.next["r"] != 1500 || atGood.lost != 0 {
				t.Errorf("who reads heard up to %d, and lost %d", atGood.next["r"], atGood.lost)
			}
			if atSlow.next["r"] != 1500 || atSlow.lost < 1000 || slow.end != nil {
				t.Errorf("the slow one heard up to %d and was told of %d; Close %v", atSlow.next["r"], atSlow.lost, slow.end)
			}
			if st := l.srv.Stats().Modules["puppet"]; st.Lost != atSlow.lost || st.Gaps != atSlow.notices || atSlow.notices != 5 {
				t.Errorf("%d lost in %d gaps are counted; it was told of %d in %d", st.Lost, st.Gaps, atSlow.lost, atSlow.notices)
			}
			l.close()
		})
	}
}

func TestASlowReaderOfAConflatedTopicHearsTheNewest(t *testing.T) {
	l := newLab(t, withPolicy, withoutPings)
	slow := l.connect("/?open=join+new1;join+new2;join+r")
	n := newNewsroom(l)
	slow.stop(5)
	for range 100 {
		n.publish("new1", 20)
		n.publish("new2", 20)
		n.publish("r", 20)
	}
	if waits := l.srv.Stats().OutboundBytes; waits > 100*22+1000 {
		t.Errorf("%d bytes wait", waits)
	}
	slow.open()
	l.settle()
	texts := slow.texts()
	var f follower
	f.hearAll(t, texts)
	if f.next["new1"] != 100 || f.next["new2"] != 100 || f.next["r"] != 100 || f.notices != 2 || f.lost != 98+99 {
		t.Errorf("it heard up to %v, and of %d lost in %d gaps", f.next, f.lost, f.notices)
	}
	if !strings.HasPrefix(texts[0], "new1 1 ") {
		t.Errorf("what was begun comes first, not %q", texts[0])
	}
	for range 3 { // who reads loses nothing
		n.publish("new1", 20)
	}
	f.hearAll(t, slow.texts())
	if f.next["new1"] != 103 || f.notices != 2 {
		t.Errorf("it heard up to %d", f.next["new1"])
	}
	l.close()
}

// Everything at once, by chance: topics with and without a policy, messages to
// one connection, a reader that takes what it likes, writes that end anywhere.
func TestGapsAreExactWhateverHappens(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		l := newLab(t, withPolicy, withoutPings, func(s *setup) {
			s.opts.WebSocket.OutboundQueueSize = Size(500 + rng.IntN(5000))
			s.opts.WebSocket.OutboundQueueMessages = 4 + rng.IntN(40)
			s.opts.WebSocket.WriteTimeout = time.Hour
			if rng.IntN(3) == 0 {
				s.opts.Server.OutboundBudget = Size(300 + rng.IntN(2000))
			}
		})
		slow := l.connect("/?open=join+old1;join+old2;join+new1;join+new2")
		other := l.connect("/?open=join+old1;join+new1")
		id := strconv.FormatUint(uint64(slow.conn.id), 10)
		n := newNewsroom(l)
		slow.bite = func(most int) int { return 1 + rng.IntN(most) }
		topics := []string{"old1", "old2", "new1", "new2"}
		var f, g follower
		var firm []string
		for step := range 400 {
			switch rng.IntN(8) {
			case 0:
				slow.stop(rng.IntN(300))
			case 1:
				slow.give(rng.IntN(1500))
				l.settle()
			case 2:
				slow.open()
				l.settle()
			case 3:
				text := fmt.Sprintf("firm%d", step)
				if n.from.ask("send "+id+" "+text+";echo sent") == "sent" && slow.conn.phase == phaseOpen {
					firm = append(firm, text)
				}
			default:
				n.publish(topics[rng.IntN(len(topics))], rng.IntN(200))
			}
			slow.listen()
			f.hearAll(t, slow.texts())
			g.hearAll(t, other.texts())
			if slow.conn.phase != phaseOpen {
				break // firm messages may be too many, which closes it as ever
			}
		}
		slow.open()
		l.settle()
		f.hearAll(t, slow.texts())
		g.hearAll(t, other.texts())
		if slow.conn.phase == phaseOpen {
			for _, topic := range topics {
				if f.next[topic] != n.said[topic] {
					t.Fatalf("seed %d: of %d messages of %s it knows %d", seed, n.said[topic], topic, f.next[topic])
				}
			}
			if !slices.Equal(f.firm, firm) {
				t.Fatalf("seed %d: other messages: %q, want %q", seed, f.firm, firm)
			}
			if st := l.srv.Stats().Modules["puppet"]; st.Lost != f.lost || st.Gaps != f.notices {
				t.Fatalf("seed %d: %d lost in %d gaps are counted; it was told of %d in %d", seed, st.Lost, st.Gaps, f.lost, f.notices)
			}
		}
		if g.lost != 0 || g.next["old1"] != n.said["old1"] {
			t.Fatalf("seed %d: who reads lost %d", seed, g.lost)
		}
		if waits := l.srv.Stats().OutboundBytes; waits != 0 && slow.conn.phase == phaseOpen {
			t.Fatalf("seed %d: %d bytes are still counted", seed, waits)
		}
		slow.reset()
		l.settle()
		l.close()
	}
}

func TestAReaderThatTakesNothingStaysAsLongAsItAnswers(t *testing.T) {
	l := newLab(t, withPolicy, withoutPings)
	n := newNewsroom(l)
	slow := l.connect("/?open=join+r")
	slow.stop(0)
	for range 100 {
		n.publish("r", 100)
		l.pass(time.Second)
	}
	if slow.conn.phase != phaseOpen {
		t.Fatal("closed although all that waits may be dropped")
	}
	// Something else waits for it: then the write timeout counts, from now on.
	n.from.say("send " + strconv.FormatUint(uint64(slow.conn.id), 10) + " a reply")
	l.settle()
	l.pass(9 * time.Second)
	if slow.conn.phase != phaseOpen {
		t.Fatal("closed before its time")
	}
	n.publish("r", 100)
	l.pass(2 * time.Second)
	if slow.conn.phase == phaseOpen {
		t.Error("a reader that lets a reply wait for 11 s is still open")
	}
	l.pass(30 * time.Second)
	if !slow.gone() {
		t.Error("the connection stays")
	}
	l.close()

	// A reply that is out is no reason any more.
	l = newLab(t, withPolicy, withoutPings)
	n = newNewsroom(l)
	slow = l.connect("/?open=join+r")
	slow.stop(0)
	n.publish("r", 100)
	n.from.say("send " + strconv.FormatUint(uint64(slow.conn.id), 10) + " a reply")
	n.publish("r", 100)
	l.settle()
	slow.give(102 + 9 + 50)
	l.settle()
	for range 20 {
		n.publish("r", 100)
		l.pass(time.Second)
	}
	if slow.conn.phase != phaseOpen {
		t.Error("closed for a reply that it has read")
	}
	slow.reset()
	l.settle()
	l.close()

	// Its peer ends: what waits is not waited for without end.
	l = newLab(t, withPolicy, withoutPings)
	n = newNewsroom(l)
	slow = l.connect("/?open=join+r")
	slow.stop(0)
	n.publish("r", 100)
	slow.hangUp()
	l.settle()
	l.pass(15 * time.Second)
	if !slow.gone() {
		t.Error("a connection whose peer has ended its side stays")
	}
	l.close()

	// A stalled reader that does not answer pings is gone after the ping timeout.
	l = newLab(t, withPolicy)
	n = newNewsroom(l)
	slow = l.connect("/?open=join+r")
	slow.stop(0)
	for range 40 {
		n.publish("r", 100)
		l.pass(time.Second)
	}
	if slow.conn.phase < phaseLingering {
		t.Error("a stalled reader that answers no ping is still there")
	}
	l.close()
}

func TestWhatMayBeDroppedGivesWayToWhatMayNot(t *testing.T) {
	l := newLab(t, withPolicy, withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueSize = 10_000 })
	n := newNewsroom(l)
	slow := l.connect("/?open=join+r;join+plain")
	id := strconv.FormatUint(uint64(slow.conn.id), 10)
	slow.stop(0)
	for range 20 {
		n.publish("r", 900)
	}
	text := strings.Repeat("y", 5000)
	if got := n.from.ask("?send " + id + " " + text); got != "status=0" {
		t.Fatalf("a message to a reader whose queue holds what may be dropped: %s", got)
	}
	n.from.say("publish plain " + strings.Repeat("z", 3000))
	l.settle()
	if got := n.from.ask("?send " + id + " " + text); got != "status=-3" {
		t.Errorf("a message too many: %s, want queue full", got)
	}
	slow.open()
	l.settle()
	var f follower
	f.hearAll(t, slow.texts())
	if len(f.firm) != 2 || f.next["r"] != 20 || slow.end != nil {
		t.Errorf("%d other messages, up to %d of the topic; Close %v", len(f.firm), f.next["r"], slow.end)
	}
	l.close()
}

func TestGapNotices(t *testing.T) {
	for _, tc := range []struct{ name, notice, want string }{
		{"of the server's own", "", `{"weir":"gap","topic":"r \"é","from":2,"to":9,"dropped":7}`},
		{"of the operator's", `lost {dropped} of {topic} ({from}–{to}) {"x":{}} {from`, `lost 7 of "r \"é" (2–9) {"x":{}} {from`},
		{"none", "none", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const topic = `r "é`
			l := newLab(t, withoutPings, func(s *setup) {
				s.modules[0].Topics = []TopicPolicy{{Pattern: "r*", WhenSlow: "conflate", GapNotice: tc.notice}}
			})
			slow := l.connect("/")
			slow.say("join " + topic)
			l.settle()
			slow.stop(1)
			for i := range 10 {
				except := uint64(0)
				if i == 4 { // its own, which is not missing
					except = uint64(slow.conn.id)
				}
				publishTo(l, topic, fmt.Sprint("message ", i+1), except)
			}
			slow.open()
			l.settle()
			want := []string{"message 1", tc.want, "message 10"}
			if tc.want == "" {
				want = []string{"message 1", "message 10"}
			}
			slow.want(want...)
			l.close()
		})
	}
}

// publishTo publishes for the module, whose handler cannot name such topics.
func publishTo(l *lab, topic, text string, except uint64) {
	tn := l.tenant("puppet")
	t := l.srv.turns.borrow(l.srv)

	buf := pool.Take(len(textFrame(text)))
	copy(buf.B, textFrame(text))
	t.publish(tn, []byte(topic), buf, except)
	buf.Release()

	l.srv.turns.giveBack(t)
	l.settle()
}

func TestANewGenerationBringsItsPolicies(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueMessages = 10 })
	n := newNewsroom(l)
	slow := l.connect("/?open=join+r")
	slow.stop(0)
	for range 5 {
		n.publish("r", 20)
	}
	l.mustReload(func(m *Module) { m.Topics = []TopicPolicy{{Pattern: "*", WhenSlow: "drop_oldest"}} })
	for range 20 {
		publishTo(l, "r", "later", 0)
	}
	slow.open()
	l.settle()
	texts := slow.texts()
	if len(texts) < 10 || slow.end != nil || !strings.Contains(strings.Join(texts, " "), `"topic":"r","from":1,`) {
		t.Errorf("it heard %q; Close %v", texts, slow.end)
	}
	l.close()
}

func TestTopicPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "anything", true}, {"a*", "a", true}, {"a*", "ba", false},
		{"*a", "bba", true}, {"*a", "ab", false}, {"a*b*c", "a1b2b3c", true}, {"a*b*c", "abb", false}, {"a*a", "a", false}, {"a**b", "ab", true},
		{"price/*", "price/EUR", true}, {"é*", "é", true}, {".*", "x", false},
	} {
		if got := matchTopic(tc.pattern, tc.name); got != tc.want {
			t.Errorf("%q matches %q: %v, want %v", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func FuzzTopicPattern(f *testing.F) {
	f.Add("a*b", "ab")
	f.Add("**", "")
	f.Add("a*a*a", "aaaa")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want, err := regexp.Compile(`\A(?s:` + strings.Join(parts, ".*") + `)\z`)
		if err != nil || len(name) > 200 || len(pattern) > 50 || strings.ToValidUTF8(name, "") != name || strings.ToValidUTF8(pattern, "") != pattern {
			return
		}
		if got := matchTopic(pattern, name); got != want.MatchString(name) {
			t.Errorf("%q matches %q: %v", pattern, name, got)
		}
	})
}

func TestTopicPoliciesAreChecked(t *testing.T) {
	for _, p := range []TopicPolicy{{}, {Pattern: strings.Repeat("x", 256)}, {Pattern: "a", WhenSlow: "drop"}, {Pattern: "a", GapNotice: "\xFF"}, {Pattern: "a", GapNotice: strings.Repeat("x", 2000)}} {
		if p.Validate() == nil {
			t.Errorf("%+v is right", p)
		}
	}
	if err := (TopicPolicy{Pattern: "*", WhenSlow: "disconnect", GapNotice: "none"}).Validate(); err != nil {
		t.Error(err)
	}
}

// TestRuledPublishAllocs holds a publish to a topic with a rule to no allocation
// per receiver that keeps up, as TestPublishAllocs does for one without.
func TestRuledPublishAllocs(t *testing.T) {
	for _, members := range []int{1, fanOutInline, 200} {
		l := newLab(t, withPolicy)
		l.quick(true)
		d, c := l.deafClient("/?open=join+r")
		conns := []*Conn{c}
		for range members - 1 {
			_, member := l.deafClient("/?open=join+r")
			conns = append(conns, member)
		}
		message := []byte(frame(0x81, "publish r "+strings.Repeat("x", 128)))
		if n := allocs(t, func() {
			d.next = message
			c.Ready(netpoll.Readable)
			for l.tasks.step() {
			}
		}); n != 0 {
			t.Errorf("to %d members: %v allocations, want 0", members, n)
		}
		l.finishDeaf(conns...)
	}
}

// The same over real sockets and threads: a reader that pauses while more is
// published than the kernel keeps for it.
func TestGapsAreExactOverRealSockets(t *testing.T) {
	const messages, size = 1500, 5000
	w := start(t, withPolicy, withoutPings, func(s *setup) {
		s.opts.WebSocket.OutboundQueueSize = 64 << 10
		s.opts.WebSocket.WriteTimeout = time.Hour
	})
	slow, good, from := w.dial("/?open=join+r"), w.dial("/?open=join+r"), w.dial("/")
	check(t, slow.ws.NetConn().(*net.TCPConn).SetReadBuffer(128<<10))
	slow.ask("echo joined")
	good.ask("echo joined")
	var wg sync.WaitGroup
	heard := make(chan struct{}, messages)
	wg.Go(func() { // ends with the last message
		var f follower
		for f.next["r"] < messages {
			if err := f.hear(good.hear()); err != nil || f.lost > 0 {
				t.Errorf("who reads lost %d: %v", f.lost, err)
				close(heard)
				return
			}
			heard <- struct{}{}
		}
	})
	for i := range messages {
		text := fmt.Sprintf("r %d ", i+1)
		from.say("publish r " + text + strings.Repeat("x", size-len(text)))
		if i >= 50 { // so that whoever reads keeps up
			<-heard
		}
	}
	wg.Wait()
	var f follower
	for f.next["r"] < messages {
		if err := f.hear(slow.hear()); err != nil {
			t.Fatal(err)
		}
	}
	if f.lost == 0 {
		t.Error("nothing was dropped: this tested nothing")
	}
	st := w.srv.Stats()
	if m := st.Modules["puppet"]; m.Lost != f.lost || m.Gaps != f.notices {
		t.Errorf("%d lost in %d gaps are counted; it was told of %d in %d", m.Lost, m.Gaps, f.lost, f.notices)
	}
	if got := slow.ask("echo still here"); got != "still here" {
		t.Error(got)
	}
}
