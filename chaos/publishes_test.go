//go:build unix

package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const adminToken = "the-token-of-these-tests-and-their-servers"

// operated starts a server whose admin API takes adminToken.
func operated(t *testing.T, config string) *server {
	t.Helper()
	return underShell(t, `WEIR_ADMIN_TOKEN='`+adminToken+`' exec "$@"`, config)
}

// topics asks the admin API for every topic and its number of members.
func (s *server) topics(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for after := ""; ; {
		var page struct {
			Topics []struct {
				Topic   string
				Members int
			}
			Next string
		}
		s.ask(t, "/v1/topics?limit=1000&module=puppet&after="+after, &page)
		for _, topic := range page.Topics {
			all[topic.Topic] = topic.Members
		}
		if after = page.Next; after == "" {
			return all
		}
	}
}

// ask reads an answer of the admin API into v.
func (s *server) ask(t *testing.T, path string, v any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.adminURL(t)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := scrapes.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// noTopics expects every topic to go, and what waited for the members.
func (s *server) noTopics(t *testing.T) {
	t.Helper()
	if !eventually(func() bool { return len(s.topics(t)) == 0 }) {
		t.Errorf("%d topics are left", len(s.topics(t)))
	}
	if !eventually(func() bool { return s.metric(t, "weir_outbound_bytes") == 0 }) {
		t.Errorf("%v bytes wait for nobody", s.metric(t, "weir_outbound_bytes"))
	}
}

// script has the puppet do commands, separated by ';'.
func (c *client) script(commands string) error {
	if len(commands) <= 125 {
		return c.send(opText, commands)
	}
	return c.say(commands)
}

// answer has the puppet do commands and returns the next text.
func (c *client) answer(commands string) (string, error) {
	if err := c.script(commands); err != nil {
		return "", err
	}
	op, text, err := c.next()
	if err == nil && op != opText {
		err = fmt.Errorf("a frame %d of %.60q", op, text)
	}
	return text, err
}

// narrow connects with a receive buffer so small that what is not read soon waits at the server.
func narrow(address, path string) (*client, error) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		return errors.Join(err, set)
	}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return over(conn, path)
}

// puppet connects to a puppet.
func puppet(t *testing.T, s *server) *client {
	t.Helper()
	c, err := dial(s.address(), "/puppet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.drop)
	return c
}

// What the puppet reports (guest-sdk/abi.toml).
const (
	statusOK       = "status=0"
	statusInvalid  = "status=-6"
	statusNotFound = "status=-7"
	statusTooMany  = "status=-9"
)

// What a busy machine might make these tests fall foul of: unhurried lets a handler take its time, patiently connections
// wait for an instance, and roomy readers fall behind as well.
const (
	unhurried = ", limits: {timeout: 10s, open_timeout: 10s}"
	patiently = "handler: {queue_timeout: 30s}\n"
	roomy     = patiently + "websocket: {outbound_queue_messages: 200000, outbound_queue_size: 16MiB, write_timeout: 30s}\n"
)

// T-046: topics that there must not be, one too many, and members that come and go as fast as they can.
func TestTopicsComeAndGo(t *testing.T) {
	needBinary(t)
	s := operated(t, puppetSite(t, unhurried, roomy))
	t.Run("T-046 a limit is a status", func(t *testing.T) {
		c := puppet(t, s)
		expect := func(command, want string) {
			t.Helper()
			if got, err := c.answer("?" + command); err != nil || got != want {
				t.Errorf("%.60q is answered with %q, %v; want %s", command, got, err, want)
			}
		}
		for n := range 128 {
			expect(fmt.Sprintf("join %d", n), statusOK)
		}
		expect("join one too many", statusTooMany)
		expect("join 5", statusOK) // it is there already
		expect("leave one too many", statusNotFound)
		expect("leave 5", statusOK)
		expect("join one too many", statusOK)
		expect("leave 6", statusOK)
		for name, topic := range map[string]string{
			"256 bytes": strings.Repeat("x", 256), "nothing": "", "a NUL": "a\x00b", "a line end": "a\nb", "DEL": "\x7f",
		} {
			for _, command := range []string{"join " + topic, "leave " + topic} {
				if got, err := c.answer("?" + command); err != nil || got != statusInvalid {
					t.Errorf("a topic of %s: %.20q is answered with %q, %v", name, command, got, err)
				}
			}
		}
		expect("publish  x", statusInvalid)
		expect("publish a\x00b x", statusInvalid)
		expect("join "+strings.Repeat("x", 255), statusOK)
		expect("leave 7", statusOK)
		expect("join *", statusOK) // no pattern: a name
		if got, err := c.answer("publish anything x;publish 1 y"); err != nil || got != "y" {
			t.Errorf("heard %q, %v; want only what is published to a topic of this name", got, err)
		}
		if n := len(s.topics(t)); n != 128 {
			t.Errorf("the server lists %d topics, want 128", n)
		}
		if err := c.goodbye(); err != nil {
			t.Error(err)
		}
		s.noTopics(t)
		tell(t, "T-046", "a 129th topic, topics of 256 bytes, of none, with a NUL or a line end", "the handler is told too_many or invalid; no topic is left behind")
	})
	t.Run("T-046 churn", func(t *testing.T) {
		const clients, scripts, commands, names, seed = 16, 60, 100, 50, 46
		var all sync.WaitGroup
		members := make([]map[int]bool, clients)
		open := make([]*client, clients)
		for i := range clients {
			open[i], members[i] = puppet(t, s), map[int]bool{}
		}
		begun := time.Now()
		for i, c := range open {
			all.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				var b strings.Builder
				for range scripts {
					b.Reset()
					for range commands {
						topic := random.IntN(names)
						if joins := random.IntN(2) == 0; joins {
							fmt.Fprintf(&b, "join %d;", topic)
							members[i][topic] = true
						} else {
							fmt.Fprintf(&b, "leave %d;", topic)
							delete(members[i], topic)
						}
					}
					if got, err := c.answer(b.String() + "echo done"); err != nil || got != "done" {
						t.Errorf("client %d hears %q, %v (seed %d)", i, got, err, seed)
						return
					}
				}
			})
		}
		all.Wait()
		took := time.Since(begun)
		want := map[string]int{}
		for _, of := range members {
			for topic := range of {
				want[strconv.Itoa(topic)]++
			}
		}
		if got := s.topics(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("seed %d: the server lists\n%v, want\n%v", seed, got, want)
		}
		for _, c := range open {
			if err := c.goodbye(); err != nil {
				t.Error(err)
			}
		}
		s.noTopics(t)
		const changes = clients * scripts * commands
		tell(t, "T-046", "16 members join and leave 50 topics at random", "%d changes, %.0f a second; then the topics and their members are those of a model, and when all are gone there are none", changes, changes/took.Seconds())
	})
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// T-047: publishes to oneself, to many, and from events that publishes have caused.
func TestPublishesOfPublishes(t *testing.T) {
	needBinary(t)
	s := operated(t, puppetSite(t, unhurried, roomy))
	t.Run("T-047 to itself", func(t *testing.T) {
		c := puppet(t, s)
		if err := c.script("join me"); err != nil {
			t.Fatal(err)
		}
		const asked = 1200
		if err := c.script(strings.Repeat("publish me x;", asked)); err != nil {
			t.Fatal(err)
		}
		got, err := c.answer("echo over")
		heard := 0
		for ; err == nil && got == "x"; heard++ {
			_, got, err = c.next()
		}
		if err != nil || got != "over" || heard != 1000 {
			t.Errorf("heard %d and then %q, %v; want the 1,000 effects that one event may have", heard, got, err)
		}
		tell(t, "T-047", "a handler publishes 1,200 messages to its own connection in one event", "%d take hold (handler.max_effects), the others are answered with too_many", heard)
		if err := c.goodbye(); err != nil {
			t.Error(err)
		}
	})
	t.Run("T-047 everybody to everybody", func(t *testing.T) {
		const members, each = 250, 4
		var all sync.WaitGroup
		open := make([]*client, members)
		for i := range open {
			open[i] = puppet(t, s)
			if got, err := open[i].answer("join all;echo in"); err != nil || got != "in" {
				t.Fatal(got, err)
			}
		}
		begun := time.Now()
		for i, c := range open {
			all.Go(func() {
				for n := range each {
					if err := c.script(fmt.Sprintf("publish all %d %d", i, n)); err != nil {
						t.Error(err)
						return
					}
				}
				next := [members]int{}
				for range members * each {
					_, text, err := c.next()
					var from, n int
					if err == nil {
						_, err = fmt.Sscanf(text, "%d %d", &from, &n)
					}
					if err != nil || next[from] != n {
						t.Errorf("member %d hears %q, %v out of turn", i, text, err)
						return
					}
					next[from]++
				}
			})
		}
		all.Wait()
		tell(t, "T-047", "250 members publish to all 250 at once", "%d deliveries in %v, each once and in its publisher's order", members*members*each, time.Since(begun).Round(time.Millisecond))
		for _, c := range open {
			c.drop()
		}
		s.noTopics(t)
	})
	t.Run("T-047 events that cause events", func(t *testing.T) {
		const links = 50
		watcher := puppet(t, s)
		if got, err := watcher.answer("join all;join gone;echo in"); err != nil || got != "in" {
			t.Fatal(got, err)
		}
		// Each one's timer publishes, sets off the timer of the one before, and closes its own connection, whose end is
		// published in turn.
		before := ""
		var ends sync.WaitGroup
		for range links {
			conn, err := net.DialTimeout("tcp", s.address(), patience)
			if err != nil {
				t.Fatal(err)
			}
			script := "@publish all x;close 4000"
			if before != "" {
				script += ";timerid " + before + " 1 0 0"
			}
			c, err := over(&prefaced{Conn: conn, header: "Authorization: " + script}, "/puppet?open=join+all")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.drop)
			id, err := c.answer("id")
			if err != nil {
				t.Fatal(err)
			}
			before = strings.TrimPrefix(id, "id=")
			ends.Go(func() { // ends with the Close frame
				for {
					switch op, text, err := c.next(); {
					case err != nil:
						t.Error(err)
						return
					case op == opClose:
						if closeCode(text) != 4000 {
							t.Errorf("closed with %d", closeCode(text))
						}
						_ = c.send(opClose, text)
						return
					}
				}
			})
		}
		begun := time.Now()
		if err := watcher.script("timerid " + before + " 1 0 0"); err != nil {
			t.Fatal(err)
		}
		published, gone := 0, 0
		for published+gone < 2*links {
			_, text, err := watcher.next()
			if err != nil {
				t.Fatalf("after %d timers and %d ends: %v", published, gone, err)
			}
			switch {
			case text == "x":
				published++
			case strings.HasPrefix(text, "closed 4000 "):
				gone++
			default:
				t.Fatalf("heard %q", text)
			}
		}
		ends.Wait()
		if published != links || gone != links {
			t.Errorf("heard %d timers and %d ends, want %d", published, gone, links)
		}
		tell(t, "T-047", "50 timers that each publish, set off the next, and close their connection, whose end publishes", "%d and %d publishes arrived after %v", published, gone, time.Since(begun).Round(time.Millisecond))
		watcher.drop()
		s.noTopics(t)
	})
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// T-048: who joins hears nothing from before, who leaves nothing from after, and each publisher in its order.
func TestMembersComeAndGoWhileOthersPublish(t *testing.T) {
	needBinary(t)
	s := operated(t, puppetSite(t, unhurried, roomy))
	const publishers, members, scripts, each = 4, 40, 60, 25
	var speaking, listening sync.WaitGroup
	var over atomic.Bool
	var heard, stays atomic.Int64
	for i := range members {
		c := puppet(t, s)
		listening.Go(func() { // ends with the publishers, by its own question
			for !over.Load() {
				n, err := c.stay(i%2 == 0)
				if err != nil {
					t.Errorf("member %d, stay %d: %v", i, stays.Load(), err)
					return
				}
				heard.Add(int64(n))
				stays.Add(1)
			}
			if err := c.goodbye(); err != nil {
				t.Error(err)
			}
		})
	}
	for from := range publishers {
		c := puppet(t, s)
		speaking.Go(func() {
			defer c.drop()
			var b strings.Builder
			for n := range scripts {
				b.Reset()
				for m := range each {
					fmt.Fprintf(&b, "publish room %d %d;", from, n*each+m)
				}
				if got, err := c.answer(b.String() + "echo done"); err != nil || got != "done" {
					t.Errorf("publisher %d hears %q, %v", from, got, err)
					return
				}
			}
		})
	}
	speaking.Wait()
	over.Store(true)
	listening.Wait()
	if heard.Load() == 0 {
		t.Error("nobody heard anything: this tested nothing")
	}
	tell(t, "T-048", "40 members join and leave while 4 others publish 6,000 messages", "%d stays, in which %d messages were heard: none outside of them, none missing or out of order within", stays.Load(), heard.Load())
	s.noTopics(t)
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// stay joins the topic, leaves it after a while, and returns how many messages it heard. The handler says so before it
// joins and after it leaves, in the same event; so what arrives outside is from another time.
func (c *client) stay(long bool) (heard int, err error) {
	if err := c.script("echo joins;join room"); err != nil {
		return 0, err
	}
	if _, text, err := c.next(); err != nil || text != "joins" {
		return 0, fmt.Errorf("before it joins it hears %q, %w", text, err)
	}
	if long {
		time.Sleep(5 * time.Millisecond) // it hears more
	}
	if err := c.script("leave room;echo left"); err != nil {
		return 0, err
	}
	next := map[int]int{}
	for {
		_, text, err := c.next()
		if err != nil {
			return heard, err
		}
		if text == "left" {
			break
		}
		var from, n int
		if _, err = fmt.Sscanf(text, "%d %d", &from, &n); err != nil {
			return heard, fmt.Errorf("hears %q: %w", text, err)
		}
		if want, ok := next[from]; ok && n != want {
			return heard, fmt.Errorf("hears message %d of publisher %d, want %d", n, from, want)
		}
		next[from] = n + 1
		heard++
	}
	if err := c.script("echo quiet"); err != nil {
		return heard, err
	}
	if _, text, err := c.next(); err != nil || text != "quiet" {
		return heard, fmt.Errorf("after it has left it hears %q, %w", text, err)
	}
	return heard, nil
}

// T-050: connections end, in order and not, while they are in many topics and messages of those wait for them.
func TestConnectionsEndInManyTopics(t *testing.T) {
	needBinary(t)
	s := operated(t, puppetSite(t, unhurried, patiently+"websocket: {outbound_queue_messages: 200000, outbound_queue_size: 256KiB, close_timeout: 1s}\n"))
	const members, each, rounds = 80, 125, 3
	publisher := puppet(t, s)
	var resident [rounds]int
	var queued float64
	for round := range rounds {
		open := make([]*client, members)
		for i := range open {
			var err error
			if open[i], err = narrow(s.address(), "/puppet"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(open[i].drop)
			var b strings.Builder
			for n := range each {
				fmt.Fprintf(&b, "join topic-%d;", i*each+n)
			}
			if got, err := open[i].answer(b.String() + "join all;echo in"); err != nil || got != "in" {
				t.Fatal(got, err)
			}
		}
		if n := len(s.topics(t)); n != members*each+1 {
			t.Fatalf("there are %d topics, want %d", n, members*each+1)
		}
		text := "publish all " + strings.Repeat("x", 16<<10) + ";"
		for range 200 {
			if got, err := publisher.answer(strings.Repeat(text, 3) + "echo done"); err != nil || got != "done" {
				t.Fatal(got, err)
			}
			if waits := s.metric(t, "weir_outbound_bytes"); waits > 0 { // the kernel takes no more for who does not read
				queued = max(queued, waits)
				break
			}
		}
		var ends sync.WaitGroup
		for i, c := range open {
			ends.Go(func() {
				switch i % 3 {
				case 0: // resets
					_ = c.conn.(*net.TCPConn).SetLinger(0)
				case 1: // says goodbye, and does not wait for the answer
					_ = c.send(opClose, "\x03\xe8")
				}
				c.drop()
			})
		}
		for i := range members { // while they go
			if got, err := publisher.answer(fmt.Sprintf("publish all x;publish topic-%d x;echo done", i*each)); err != nil || got != "done" {
				t.Fatal(got, err)
			}
		}
		ends.Wait()
		s.noTopics(t)
		resident[round] = s.usage(t).residentKiB
	}
	if !eventually(func() bool { return s.metric(t, `weir_connections{route="/puppet"}`) == 1 }) {
		t.Errorf("%v connections are left, want the publisher's", s.metric(t, `weir_connections{route="/puppet"}`))
	}
	if queued == 0 {
		t.Error("nothing waited for anybody: this tested less than it should")
	}
	publisher.drop()
	if resident[rounds-1] > resident[0]+16<<10 {
		t.Errorf("%v KiB resident after each round", resident)
	}
	tell(t, "T-050", "80 connections in 10,000 topics end, a third with a reset, while messages wait for them, three times over", "%.1f MiB waited; each time no topic and no byte was left; %v KiB resident after each", queued/(1<<20), resident)
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}
