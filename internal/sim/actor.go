package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// actor is one connection of a run, with what its client has asked for and
// therefore expects.
type actor struct {
	r  *runner
	c  *Client
	id string // in messages: no two connections have the same

	key        string // under the scope key, who has the same shares an instance
	generation int    // the latest that it was served by
	total      int    // the latest sum that its instance told
	greeted    bool
	handle     string // the guest's id of the connection; "" before it is known
	seq        int
	sent       [topics]int  // publishes
	joined     [topics]bool // asked for
	replies    []reply      // expected, in order
	pongs      []string     // sent pings, which may be answered
	ponged     int          // pongs checked
	timers     map[string]bool
	heardOf    map[string]int // topic and publisher: the last number

	// Why the server may end the connection, "" while it may not, and with which
	// codes; none means that a Close frame need not come.
	excuse  string
	codes   []uint16
	lossy   bool // replies may be missing
	refused []int
	silent  bool // the client sends no more messages
}

// reply is one message that is due.
type reply struct {
	op   Opcode
	text string
}

// say sends a script.
func (a *actor) say(script string) { a.c.SendText(script) }

// due notes a reply that a script asks for.
func (a *actor) due(text string) string {
	a.replies = append(a.replies, reply{Text, text})
	return text
}

func (a *actor) next() int { a.seq++; return a.seq }

// ends notes why the server may end the connection from now on, and that the
// client sends no more.
func (a *actor) ends(why string, codes ...uint16) {
	if a.excuse == "" {
		a.excuse, a.codes = why, codes
	}
	a.silent = true
}

// greet says who the connection is; the handler says so when it closes.
func (a *actor) greet() {
	a.greeted = true
	n := a.next()
	a.replies = append(a.replies, reply{Text, "id="})
	a.say(fmt.Sprintf("set !publish gone bye %s;id;echo %s", a.id, a.due(fmt.Sprintf("r %s %d", a.id, n))))
}

// watch makes the watcher a member of everything.
func (a *actor) watch() {
	a.greeted = true
	a.say("join gone")
	for i := range topics {
		a.joined[i] = true
		a.say(fmt.Sprintf("join t%d", i))
	}
	a.say("echo " + a.due("r watching"))
}

// act does something that the run's faults allow.
func (a *actor) act() {
	r := a.r
	if a.silent {
		a.actSilently()
		return
	}
	if r.profile.Swaps && r.swaps.IntN(3) == 0 {
		a.add()
		return
	}
	switch n := r.rng.IntN(100); {
	case n < 25:
		a.echo()
	case n < 33:
		a.repeat()
	case n < 43:
		a.binary()
	case n < 51:
		a.fragments()
	case n < 66:
		a.publish()
	case n < 74:
		a.join()
	case n < 78:
		a.timer()
	case n < 82:
		a.gossip()
	case n < 85:
		a.ping()
	case n < 88:
		a.leave()
	case n < 90:
		a.ends("the handler closes", 4000)
		a.say(fmt.Sprintf("echo %s;close 4000 bye", a.due(fmt.Sprintf("r %s %d", a.id, a.next()))))
	case n < 92 && r.has(Resets):
		a.abort()
	case n < 94 && r.has(HalfCloses):
		if r.chance(2) {
			a.echo() // bytes and FIN may come in one event
		}
		a.ends("it half-closed")
		a.lossy = true
		a.c.CloseWrite()
	case n < 96 && r.has(SlowReaders):
		a.pause()
	case n < 98 && r.has(BadPeers):
		a.misbehave()
	case r.has(Failures):
		a.fail()
	default:
		a.echo()
	}
}

// actSilently is what is left to a client that waits for its end.
func (a *actor) actSilently() {
	switch {
	case a.c.paused && a.r.chance(2):
		a.c.Resume()
	case a.r.has(Resets) && a.r.chance(6):
		a.abort()
	}
}

func (a *actor) echo() {
	a.say("echo " + a.due(fmt.Sprintf("r %s %d", a.id, a.next())))
}

// add asks which generation serves it and has its instance add to a sum, which
// only memory holds.
func (a *actor) add() {
	script := "gen;total 1;echo " + a.due(fmt.Sprintf("r %s %d", a.id, a.next()))
	if a.r.profile.mutate != nil {
		script = a.r.profile.mutate(script)
	}
	a.say(script)
}

func (a *actor) repeat() {
	text := fmt.Sprintf("r %s %d", a.id, a.next())
	n := 1 + a.r.rng.IntN(20)
	for range n {
		a.due(text)
	}
	a.say(fmt.Sprintf("repeat %d %s", n, text))
}

func (a *actor) binary() {
	size := a.r.rng.IntN(200)
	if a.r.chance(12) {
		size = a.r.rng.IntN(64<<10 + 1)
	}
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i*7 + a.seq)
	}
	a.next()
	a.replies = append(a.replies, reply{Binary, string(p)})
	if a.r.chance(2) {
		a.c.SendBinary(p)
		return
	}
	cut := a.r.rng.IntN(size + 1)
	a.c.SendFrame(Frame{Opcode: Binary, More: true, Payload: p[:cut]})
	a.c.SendFrame(Frame{Opcode: Continuation, Payload: p[cut:]})
}

// fragments sends a script in pieces, with pings between.
func (a *actor) fragments() {
	script := "echo " + a.due(fmt.Sprintf("r %s %d — ünïcode", a.id, a.next()))
	op := Text
	for len(script) > 0 {
		n := min(1+a.r.rng.IntN(16), len(script))
		a.c.SendFrame(Frame{Opcode: op, More: n < len(script), Payload: []byte(script[:n])})
		op, script = Continuation, script[n:]
		if a.r.chance(4) {
			a.ping()
		}
	}
}

func (a *actor) publish() {
	i := a.r.rng.IntN(topics)
	a.sent[i]++
	a.say(fmt.Sprintf("publish t%d p t%d %s %d;echo %s", i, i, a.id, a.sent[i], a.due(fmt.Sprintf("r %s %d", a.id, a.next()))))
}

func (a *actor) join() {
	i := a.r.rng.IntN(topics)
	a.joined[i] = true
	a.say(fmt.Sprintf("join t%d;echo %s", i, a.due(fmt.Sprintf("r %s %d", a.id, a.next()))))
}

func (a *actor) timer() {
	id := a.next()
	if a.timers == nil {
		a.timers = make(map[string]bool)
	}
	a.timers[strconv.Itoa(id)] = true
	a.say(fmt.Sprintf("timer %d %d 0", id, 10+a.r.rng.IntN(3000)))
}

// gossip sends a message to another connection by the guest's id of it, which
// may be old.
func (a *actor) gossip() {
	to := a.r.all[a.r.rng.IntN(len(a.r.all))]
	if to.handle == "" {
		a.echo()
		return
	}
	a.say(fmt.Sprintf("send %s x %s;echo %s", to.handle, to.id, a.due(fmt.Sprintf("r %s %d", a.id, a.next()))))
}

func (a *actor) ping() {
	text := strconv.Itoa(a.next())
	a.pongs = append(a.pongs, text)
	a.c.Ping(text)
}

// leave says goodbye in good order; the server says the same code.
func (a *actor) leave() {
	if a.silent {
		a.abort()
		return
	}
	code := []uint16{1000, 1001, 3000, 0}[a.r.rng.IntN(4)]
	a.ends("it closed", code)
	a.c.Close(code, "")
}

func (a *actor) abort() {
	a.ends("it aborted")
	a.lossy = true
	if a.r.chance(2) {
		a.c.Abort()
	} else {
		a.c.Hangup()
	}
}

// pause stops reading. The server may lose patience, unless the client reads on
// before.
func (a *actor) pause() {
	a.ends("it did not read", 1013)
	a.lossy = true
	a.c.Pause()
}

// misbehave breaks the protocol.
func (a *actor) misbehave() {
	c := a.c
	switch a.r.rng.IntN(9) {
	case 0:
		a.ends("a frame was not masked", 1002)
		c.SendFrame(Frame{Opcode: Text, Bare: true, Payload: []byte("echo never")})
	case 1:
		a.ends("text was not UTF-8", 1007)
		c.SendFrame(Frame{Opcode: Text, Payload: []byte("echo never\xff")})
	case 2:
		a.ends("a reserved bit was set", 1002)
		c.SendFrame(Frame{Opcode: Text, RSV: 4, Payload: []byte("echo never")})
	case 3:
		a.ends("an opcode was reserved", 1002)
		c.SendFrame(Frame{Opcode: 3, Payload: []byte("echo never")})
	case 4:
		a.ends("a frame was too big", 1009)
		c.SendFrame(Frame{Opcode: Binary, Payload: make([]byte, 64<<10+1)})
	case 5:
		a.ends("a continuation continued nothing", 1002)
		c.SendFrame(Frame{Opcode: Continuation, Payload: []byte("never")})
	case 6:
		a.ends("a message never came to its end", 1008)
		c.SendFrame(Frame{Opcode: Binary, Payload: []byte("never"), Declare: 500})
	case 7:
		a.ends("a length had its top bit set", 1002, 1009)
		c.SendFrame(Frame{Opcode: Binary, Payload: []byte("never"), Declare: 1<<63 | 5})
	default:
		a.ends("a close code may not travel", 1002)
		c.Close(1005, "")
	}
}

// fail asks for effects and then fails: none of them may show.
func (a *actor) fail() {
	scripts := []string{
		"echo never;publish t0 never;set !publish gone never;fail 1",
		"publish t1 never;set !publish gone never;echo never;trap",
		"set !publish gone never;close 4999 never;fail 7",
		"join t2;timer 1 10 10;repeat 3 never;publish t2 never;trap",
	}
	script := scripts[a.r.rng.IntN(len(scripts))]
	if a.r.profile.mutate != nil {
		script = a.r.profile.mutate(script)
	}
	a.ends("the handler failed", 1011)
	a.say(script)
	a.r.fell[a.key] = true
}

// broke reports a promise that did not hold for a.
func (a *actor) broke(oracle, format string, args ...any) {
	a.r.w.violate(oracle, "%s: %s; traffic:\n  %s", a.id, fmt.Sprintf(format, args...), strings.Join(a.c.Traffic(), "\n  "))
}

// hear holds a message against what is expected.
func (a *actor) hear(m Message) {
	kind, rest, _ := strings.Cut(string(m.Payload), " ")
	switch {
	case m.Opcode == Binary:
		a.answered(m)
	case kind == "p":
		a.hearPublish(rest)
	case kind == "bye":
		a.hearBye(rest)
	case kind == "closed":
		a.r.closedOut++
	case kind == "x":
		if rest != a.id {
			a.broke("a message reaches whom it is for", "it got a message for %s", rest)
		}
	case strings.HasPrefix(kind, "timer="):
		id := kind[len("timer="):]
		if !a.timers[id] {
			a.broke("a timer fires once", "timer %s fired, which was not set or had fired", id)
		}
		delete(a.timers, id)
	case a == a.r.watcher && strings.HasPrefix(kind, "count="):
		a.r.members, _ = strconv.Atoi(kind[len("count="):])
	case strings.HasPrefix(kind, "gen="):
		a.hearGeneration(kind[len("gen="):])
	case strings.HasPrefix(kind, "total="):
		a.hearTotal(kind[len("total="):])
	case kind == "draining":
		if !a.r.draining {
			a.broke("drain is told in a drain", "the handler was told to drain")
		}
	case strings.Contains(string(m.Payload), "never"):
		a.broke("effects are all or nothing", "it heard %v, which a failed handler or a broken message asked for", m)
	default:
		a.answered(m)
	}
}

// answered takes the reply that is due.
func (a *actor) answered(m Message) {
	if len(a.replies) == 0 {
		a.broke("messages are answered in order", "it heard %v, and expected nothing", m)
		return
	}
	want := a.replies[0]
	a.replies = a.replies[1:]
	got := string(m.Payload)
	if want.text == "id=" && strings.HasPrefix(got, "id=") {
		a.handle = got[len("id="):]
		return
	}
	if want.op != m.Opcode || want.text != got {
		a.broke("messages are answered in order", "it heard %s, and expected %s", clip(m.String()), clip(show(want.op, []byte(want.text))))
	}
}

func (a *actor) hearGeneration(digits string) {
	n, err := strconv.Atoi(digits)
	if err != nil || n < a.generation {
		a.broke("no connection goes back", "generation %q serves it after %d", digits, a.generation)
	}
	a.generation = n
}

// hearTotal checks that an instance's memory goes from generation to generation.
func (a *actor) hearTotal(digits string) {
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		a.broke("an instance keeps what it knows", "the sum is %q", digits)
	case a.r.scope == "connection" && n != a.total+1, a.r.scope == "key" && n <= a.total:
		a.broke("an instance keeps what it knows", "the sum is %d after %d", n, a.total)
	}
	a.total = n
}

// hearPublish checks the order of one publisher's messages on one topic.
func (a *actor) hearPublish(rest string) {
	key, digits, _ := cutLast(rest)
	n, err := strconv.Atoi(digits)
	topic := int(rest[1] - '0')
	switch last, known := a.heardOf[key]; {
	case err != nil || topic < 0 || topic >= topics:
		a.broke("a publish comes whole", "it heard %q", rest)
	case !a.joined[topic]:
		a.broke("a publish reaches members", "it heard %q and never joined", rest)
	case known && n != last+1:
		a.broke("publishes come in order and without a gap", "it heard number %d of %s after %d", n, key, last)
	case !known && n != 1 && a == a.r.watcher:
		a.broke("publishes come in order and without a gap", "it heard number %d of %s first", n, key)
	}
	a.heardOf[key] = n
}

// hearBye checks that a connection's close is told once, and not too early.
func (a *actor) hearBye(id string) {
	if a.heardOf[id]++; a.heardOf[id] > 1 {
		a.broke("close is told exactly once", "the close of %s was told twice", id)
	}
}

// rested checks a connection when all faults have been over for long.
func (a *actor) rested() {
	c, w, r := a.c, a.r.w, a.r
	for _, pong := range c.pongs[a.ponged:] {
		i := slices.Index(a.pongs, pong)
		if i < 0 {
			a.broke("pongs answer pings", "a pong %q that no ping asked for, or out of order", pong)
			return
		}
		a.pongs = a.pongs[i+1:]
	}
	a.ponged = len(c.pongs)
	switch {
	case c.gone && !c.broken: // nobody looked
	case a.c.sock.refused: // the poller did not take it
	case !c.Opened():
		a.restedOutside()
	case c.Ended() && r.breaker && r.has(Failures) && c.Closed() != nil && c.Closed().Code == 1013:
	case c.Ended() && r.scope == "key" && r.fell[a.key] && c.Closed() != nil && c.Closed().Code == 1011:
	case c.Ended() && r.tight && (c.Closed() == nil || c.Closed().Code == 1013): // a short queue was full
	case !c.Ended():
		if a.excuse != "" && a.excuse != "it did not read" {
			a.broke("liveness", "it is open %v after the last fault, although %s", quiet, a.excuse)
		}
		a.restedInside()
	case c.Truncated() && !a.lossy:
		a.broke("a frame comes whole", "the stream ended within a frame")
	case a.excuse == "":
		a.broke("a connection ends for a reason", "it ended (%v) and had done nothing", c.Closed())
	case c.Closed() == nil && !a.lossy:
		a.broke("a connection ends with a Close frame", "none came, although %s", a.excuse)
	case c.Closed() != nil && len(a.codes) > 0 && !slices.Contains(a.codes, c.Closed().Code):
		a.broke("the close code tells the reason", "%v came, want one of %d, since %s", c.Closed(), a.codes, a.excuse)
	case !a.lossy && !r.tight: // a short queue may have been full before the end came
		a.restedInside()
	}
	if a.greeted && a.handle != "" && w.broken == nil {
		over := a.c.sock.closed
		if told := r.watcher.heardOf[a.id]; told > btoi(over) || told < btoi(over) && !r.deaf() {
			a.broke("close is told exactly once", "the socket's end is %v, and the handler has heard of it %d times", over, told)
		}
	}
}

// restedInside checks that nothing is due any more.
func (a *actor) restedInside() {
	if len(a.replies) > 0 {
		a.broke("every message is answered", "%d replies are missing, first %s", len(a.replies), clip(show(a.replies[0].op, []byte(a.replies[0].text))))
	}
	if len(a.timers) > 0 && !a.c.Ended() {
		a.broke("a timer fires once", "%d timers have not fired", len(a.timers))
	}
}

// restedOutside checks a connection that never became a WebSocket.
func (a *actor) restedOutside() {
	c := a.c
	shed := (a.r.has(Overload) || a.r.paused || a.r.scope == "key" && a.r.fell[a.key] || a.r.breaker && a.r.has(Failures)) && c.Status() == 503
	switch {
	case !c.Ended():
		a.broke("liveness", "its handshake is not over %v after the last fault", quiet)
	case shed || c.Status() == 0 && a.lossy:
	case !slices.Contains(a.refused, c.Status()):
		a.broke("a request is answered", "status %d, want one of %v", c.Status(), a.refused)
	}
}

// clip shortens what stands in an error.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}

// cutLast cuts s at its last space.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
