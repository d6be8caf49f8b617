package host

import (
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weir/runtime"
)

// The cases of the Autobahn test suite's fuzzing client, by its numbers, but for
// compression (12 and 13). What each does is in the suite's public description;
// the payloads are ours where they do not matter. It knows verdicts such as
// "non-strict" and "informational"; here there is one answer to each case, the
// strict one, to the byte, and one Close frame.

// autobahnCase is a conversation with an echo server.
type autobahnCase struct {
	id    string
	steps []autobahnStep
	// fails says that the server ends the connection, with its Close frame as the
	// last thing that the last step wants. Else the client closes with 1000 in the
	// end, which must come back.
	fails bool
}

// autobahnStep is what a client writes, each chop with a system call of its own,
// and what it then must hear before it goes on.
type autobahnStep struct {
	chops []string
	want  string
}

// autobahnCases gathers them.
type autobahnCases []autobahnCase

func (all *autobahnCases) works(id, want string, chops ...string) {
	*all = append(*all, autobahnCase{id, []autobahnStep{{chops, want}}, false})
}

func (all *autobahnCases) fails(id, want string, chops ...string) {
	*all = append(*all, autobahnCase{id, []autobahnStep{{chops, want}}, true})
}

// octets are frames in chops of one byte.
func octets(frames ...string) []string { return pieces(strings.Join(frames, ""), 1) }

const (
	textOp, binaryOp, closeOp, pingOp, pongOp = 0x81, 0x82, 0x88, 0x89, 0x8A
	rsvShift                                  = 4 // where a frame's three reserved bits stand
)

// autobahnFraming are groups 1 to 5 and 10.
func autobahnFraming() autobahnCases {
	var all autobahnCases
	protocol := closing(causeProtocol)

	// 1: whole messages of every kind of length.
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
		text, bin := strings.Repeat("*", n), strings.Repeat("\xFE", n)
		textChops, binaryChops := []string{frame(textOp, text)}, []string{frame(binaryOp, bin)}
		if i == 7 {
			textChops, binaryChops = pieces(textChops[0], 997), pieces(binaryChops[0], 997)
		}
		all.works(fmt.Sprintf("1.1.%d", i+1), textFrame(text), textChops...)
		all.works(fmt.Sprintf("1.2.%d", i+1), binaryFrame(bin), binaryChops...)
	}

	// 2: pings and pongs.
	const noText = "\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF"
	longest := strings.Repeat("\xFE", 125)
	all.works("2.1", pongFrame(""), frame(pingOp, ""))
	all.works("2.2", pongFrame("ping me"), frame(pingOp, "ping me"))
	all.works("2.3", pongFrame(noText), frame(pingOp, noText))
	all.works("2.4", pongFrame(longest), frame(pingOp, longest))
	all.fails("2.5", protocol, frame(pingOp, longest+"\xFE"))
	all.works("2.6", pongFrame(longest), octets(frame(pingOp, longest))...)
	all.works("2.7", "", frame(pongOp, ""))
	all.works("2.8", "", frame(pongOp, "nobody asked"))
	all.works("2.9", pongFrame("but now"), frame(pongOp, "nobody asked"), frame(pingOp, "but now"))
	var pings, pongs string
	for i := range 10 {
		pings += frame(pingOp, fmt.Sprint("ping ", i))
		pongs += pongFrame(fmt.Sprint("ping ", i))
	}
	all.works("2.10", pongs, pings)
	all.works("2.11", pongs, octets(pings)...)

	// 3: reserved bits. No extension is agreed on, so all three must be 0.
	hello, ping := frame(textOp, "hello"), frame(pingOp, "")
	reserved := func(first, rsv byte, payload string) string { return frame(first|rsv<<rsvShift, payload) }
	all.fails("3.1", protocol, reserved(textOp, 1, "hello"))
	all.fails("3.2", textFrame("hello")+protocol, hello+reserved(textOp, 2, "hello")+ping)
	all.fails("3.3", textFrame("hello")+protocol, hello, reserved(textOp, 3, "hello"), ping)
	all.fails("3.4", textFrame("hello")+protocol, octets(hello, reserved(textOp, 4, "hello"), ping)...)
	all.fails("3.5", protocol, reserved(binaryOp, 5, noText))
	all.fails("3.6", protocol, reserved(pingOp, 6, "hello"))
	all.fails("3.7", protocol, reserved(closeOp, 7, ""))

	// 4: reserved opcodes, first those of data, then those of control.
	for i := range 5 {
		for group, op := range []byte{0x83 + byte(i), 0x8B + byte(i)} {
			id, odd := fmt.Sprintf("4.%d.%d", group+1, i+1), frame(op, "")
			if i%2 == 1 || i == 4 {
				odd = frame(op, "payload")
			}
			switch {
			case i < 2:
				all.fails(id, protocol, odd)
			case i < 4:
				all.fails(id, textFrame("hello")+protocol, hello+odd+ping)
			default:
				all.fails(id, textFrame("hello")+protocol, octets(hello, odd, ping)...)
			}
		}
	}

	// 5: fragments.
	first, last := frame(0x01, "fragment1"), frame(0x80, "fragment2")
	both := textFrame("fragment1fragment2")
	all.fails("5.1", protocol, frame(0x09, "fragment1")+last)
	all.fails("5.2", protocol, frame(0x0A, "fragment1")+last)
	all.works("5.3", both, first+last)
	all.works("5.4", both, first, last)
	all.works("5.5", both, octets(first, last)...)
	between := frame(pingOp, "between")
	all.works("5.6", pongFrame("between")+both, first+between+last)
	all.works("5.7", pongFrame("between")+both, first, between, last)
	all.works("5.8", pongFrame("between")+both, octets(first, between, last)...)
	for i, lone := range []string{frame(0x80, "nothing to continue"), frame(0x00, "nothing to continue")} {
		all.fails(fmt.Sprintf("5.%d", 9+3*i), protocol, lone+hello)
		all.fails(fmt.Sprintf("5.%d", 10+3*i), protocol, lone, hello)
		all.fails(fmt.Sprintf("5.%d", 11+3*i), protocol, octets(lone, hello)...)
	}
	all.fails("5.15", both+protocol, first+last+frame(0x00, "fragment3")+frame(textOp, "fragment4"))
	all.fails("5.16", protocol, strings.Repeat(frame(0x00, "fragment1")+frame(0x01, "fragment2")+frame(0x80, "fragment3"), 2))
	all.fails("5.17", protocol, strings.Repeat(frame(0x80, "fragment1")+frame(0x01, "fragment2")+frame(0x80, "fragment3"), 2))
	all.fails("5.18", protocol, first+frame(textOp, "fragment2"))
	// The first ping is answered before the rest of the message has come.
	one := []string{frame(0x01, "one "), frame(0x00, "two "), frame(pingOp, "ping one")}
	two := []string{frame(0x00, "three "), frame(0x00, "four "), frame(pingOp, "ping two"), frame(0x80, "five")}
	answer := pongFrame("ping two") + textFrame("one two three four five")
	all = append(all,
		autobahnCase{"5.19", []autobahnStep{{[]string{strings.Join(one, "")}, pongFrame("ping one")}, {[]string{strings.Join(two, "")}, answer}}, false},
		autobahnCase{"5.20", []autobahnStep{{one, pongFrame("ping one")}, {two, answer}}, false})

	// 10: a client that fragments by itself.
	whole := strings.Repeat("*", 65536)
	all.works("10.1.1", textFrame(whole), fragments(textOp, pieces(whole, 1300)...))
	return all
}

// autobahnTexts are the payloads of 6.5 to 6.23, most of them those of Markus
// Kuhn's "UTF-8 decoder capability and stress test"; the suite sends each in one
// frame.
func autobahnTexts() [][]string {
	const kosme = "κ\u1F79σμε" // 11 bytes
	var prefixes, nonCharacters, specials []string
	for i := range len(kosme) {
		prefixes = append(prefixes, kosme[:i+1])
	}
	for plane := rune(0); plane <= 16; plane++ { // U+…FFFE and U+…FFFF are no characters, and yet UTF-8
		nonCharacters = append(nonCharacters, string(plane<<16|0xFFFE), string(plane<<16|0xFFFF))
	}
	for r := rune(0xFFF9); r <= 0xFFFF; r++ {
		specials = append(specials, string(r))
	}
	var continuations []string // one to six of them, and all
	for n := range 6 {
		continuations = append(continuations, strings.Repeat("\x80\xBF", 3)[:n+1])
	}
	lonely := func(from, to byte) string { // first bytes of a rune, each before a space
		var b strings.Builder
		for c := from; c <= to; c++ {
			b.Write([]byte{c, ' '})
		}
		return b.String()
	}
	every := make([]byte, 0, 64)
	for c := byte(0x80); c <= 0xBF; c++ {
		every = append(every, c)
	}
	cutShort := []string{
		"\xC0", "\xE0\x80", "\xF0\x80\x80", "\xF8\x80\x80\x80", "\xFC\x80\x80\x80\x80",
		"\xDF", "\xEF\xBF", "\xF7\xBF\xBF", "\xFB\xBF\xBF\xBF", "\xFD\xBF\xBF\xBF\xBF",
	}
	var pairs []string
	for _, high := range []string{"\xED\xA0\x80", "\xED\xAD\xBF", "\xED\xAE\x80", "\xED\xAF\xBF"} {
		pairs = append(pairs, high+"\xED\xB0\x80", high+"\xED\xBF\xBF")
	}
	return [][]string{
		5:  {"hello$world", "hello¢world", "hello€world", "hello𤭢world", kosme},
		6:  prefixes,
		7:  {"\x00", "\u0080", "\u0800", "\U00010000"},           // the first rune of each length
		8:  {"\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80"}, // and of lengths that are none
		9:  {"\x7F", "\u07FF", "\uFFFF", "\U0010FFFF"},           // the last of each
		10: {"\xF7\xBF\xBF\xBF", "\xFB\xBF\xBF\xBF\xBF", "\xFD\xBF\xBF\xBF\xBF\xBF"},
		11: {"\uD7FF", "\uE000", "\uFFFD", "\U0010FFFF", "\xF4\x90\x80\x80"},
		12: append([]string{"\x80", "\xBF"}, append(continuations[1:], string(every))...),
		13: {lonely(0xC0, 0xDF), lonely(0xE0, 0xEF), lonely(0xF0, 0xF7), lonely(0xF8, 0xFB), lonely(0xFC, 0xFD)},
		14: cutShort,
		15: {strings.Join(cutShort, "")},
		16: {"\xFE", "\xFF", "\xFE\xFE\xFF\xFF"},
		17: {"\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF", "\xF8\x80\x80\x80\xAF", "\xFC\x80\x80\x80\x80\xAF"}, // overlong
		18: {"\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xF8\x87\xBF\xBF\xBF", "\xFC\x83\xBF\xBF\xBF\xBF"},
		19: {"\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF8\x80\x80\x80\x80", "\xFC\x80\x80\x80\x80\x80"},
		20: {"\xED\xA0\x80", "\xED\xAD\xBF", "\xED\xAE\x80", "\xED\xAF\xBF", "\xED\xB0\x80", "\xED\xBE\x80", "\xED\xBF\xBF"}, // surrogates
		21: pairs,
		22: nonCharacters,
		23: specials,
	}
}

// autobahnUTF8 is group 6.
func autobahnUTF8() autobahnCases {
	var all autobahnCases
	invalid := closing(causeInvalidUTF8)
	all.works("6.1.1", textFrame(""), frame(textOp, ""))
	all.works("6.1.2", textFrame(""), fragments(textOp, "", "", ""))
	all.works("6.1.3", textFrame("middle"), fragments(textOp, "", "middle", ""))

	const valid, before, spoilt, after = "Grüße, µ@ßöäüàá κόσμε 𝄞", "κόσμε", "\xF4\x90\x80\x80", "edited"
	all.works("6.2.1", textFrame(valid), frame(textOp, valid))
	all.works("6.2.2", textFrame(valid), fragments(textOp, valid[:4], valid[4:]))
	all.works("6.2.3", textFrame(valid), fragments(textOp, pieces(valid, 1)...))
	all.works("6.2.4", textFrame(before), fragments(textOp, pieces(before, 1)...))
	all.fails("6.3.1", invalid, frame(textOp, before+"\xED\xA0\x80"+after))
	all.fails("6.3.2", invalid, fragments(textOp, pieces(before+"\xED\xA0\x80"+after, 1)...))

	// Three parts, of which the second spoils the text: whole, or up to the byte
	// that does it. The server must take the first, and fail the connection at the
	// second; here the third is never sent. A ping shows that the first frame was
	// taken. In one frame none may come between; that this chop alone is taken is
	// what TestAValidBeginningOfATextFrameIsWaitedWith shows.
	whole := before + spoilt + after
	for i, at := range []int{len(before), len(before) + 1} { // behind the valid part, and one byte into the bad rune
		part2 := whole[at : at+1]
		if i == 0 {
			part2 = spoilt
		}
		all = append(all, autobahnCase{fmt.Sprintf("6.4.%d", i+1), []autobahnStep{
			{[]string{frame(0x01, whole[:at]), frame(pingOp, "taken?")}, pongFrame("taken?")},
			{[]string{frame(0x00, part2)}, invalid},
		}, true})
		one := frame(textOp, whole)
		header := len(one) - len(whole)
		all = append(all, autobahnCase{fmt.Sprintf("6.4.%d", i+3), []autobahnStep{
			{[]string{one[:header+at]}, ""},
			{[]string{one[header+at : header+at+len(part2)]}, invalid},
		}, true})
	}
	for group, texts := range autobahnTexts() {
		for i, text := range texts {
			id := fmt.Sprintf("6.%d.%d", group, i+1)
			if utf8.ValidString(text) {
				all.works(id, textFrame(text), frame(textOp, text))
			} else {
				all.fails(id, invalid, frame(textOp, text))
			}
		}
	}
	return all
}

// autobahnClosing is group 7. All of it is played in one write: what follows a
// Close frame must not have any effect.
func autobahnClosing() autobahnCases {
	var all autobahnCases
	protocol, bye, normal := closing(causeProtocol), peerClose(1000, ""), closeFrame(1000, "")
	all.works("7.1.1", textFrame("hello"), frame(textOp, "hello"))
	all.fails("7.1.2", normal, bye+frame(closeOp, ""))
	all.fails("7.1.3", normal, bye+frame(pingOp, ""))
	all.fails("7.1.4", normal, bye+frame(textOp, "late"))
	all.fails("7.1.5", normal, frame(0x01, "fragment1")+bye+frame(0x80, "fragment2"))
	large := strings.Repeat("BAsd7&jh23", 256<<10/10)
	all.fails("7.1.6", textFrame(large)+textFrame("hello")+normal, frame(textOp, large)+frame(textOp, "hello")+bye+frame(pingOp, ""))
	all.fails("7.3.1", closeFrame(0, ""), frame(closeOp, ""))
	all.fails("7.3.2", protocol, frame(closeOp, "a"))
	all.fails("7.3.3", normal, bye)
	all.fails("7.3.4", normal, peerClose(1000, "the reason"))
	all.fails("7.3.5", normal, peerClose(1000, strings.Repeat("*", 123)))
	all.fails("7.3.6", protocol, peerClose(1000, strings.Repeat("*", 124)))
	all.fails("7.5.1", closing(causeInvalidUTF8), peerClose(1000, "κόσμε\xED\xA0\x80edited"))
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		all.fails(fmt.Sprintf("7.7.%d", i+1), closeFrame(code, ""), peerClose(code, ""))
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		all.fails(fmt.Sprintf("7.9.%d", i+1), protocol, peerClose(code, ""))
	}
	for i, code := range []int{5000, 65535} {
		all.fails(fmt.Sprintf("7.13.%d", i+1), protocol, peerClose(code, ""))
	}
	return all
}

// autobahnLarge is group 9, which wants messages of up to 16 MiB; one case is in
// memory at a time. All of it is played in full, but for the suite's measuring;
// under the race detector, with a sixteenth of the bytes and messages.
func autobahnLarge() iter.Seq[autobahnCase] {
	kinds := []struct {
		first byte
		part  string // no power of two long, so that a wrong offset shows
		echo  func(string) string
	}{{textOp, "BAsd7&jh23é", textFrame}, {binaryOp, "\x00\xFE\x23\xFA\xF0", binaryFrame}}
	share := 1
	if raceEnabled {
		share = 16
	}
	return func(yield func(autobahnCase) bool) {
		for k, kind := range kinds {
			of := func(n int) string {
				s := strings.Repeat(kind.part, n/len(kind.part))
				return s + strings.Repeat("*", n-len(s))
			}
			play := func(group, i int, payload string, times int, chops ...string) bool {
				step := autobahnStep{chops, kind.echo(payload)}
				return yield(autobahnCase{fmt.Sprintf("9.%d.%d", group+k, i+1), slices.Repeat([]autobahnStep{step}, times), false})
			}
			for i, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20} {
				if !play(1, i, of(n/share), 1, frame(kind.first, of(n/share))) {
					return
				}
			}
			whole := of(4 << 20 / share)
			for i := range 9 {
				if !play(3, i, whole, 1, fragments(kind.first, pieces(whole, 64<<(2*i))...)) {
					return
				}
			}
			whole = of(1 << 20 / share)
			for i := range 6 {
				if !play(5, i, whole, 1, pieces(frame(kind.first, whole), 64<<i)...) {
					return
				}
			}
			for i, n := range []int{0, 16, 64, 256, 1024, 4096} {
				if !play(7, i, of(n), 1000/share, frame(kind.first, of(n))) {
					return
				}
			}
		}
	}
}

// forAutobahn are limits that the suite's large messages and many fragments do
// not reach; one byte more would.
func forAutobahn(s *setup) {
	s.opts.WebSocket.MaxMessageSize = 16 << 20
	s.opts.WebSocket.MaxFragments = 4 << 20 / 64
	s.opts.WebSocket.OutboundQueueSize = 32 << 20
	s.modules[0].MemoryPages = 2048
	s.modules[0].Limits = runtime.Limits{Timeout: time.Minute}
}

func TestAutobahn(t *testing.T) {
	small := start(t, withEcho)
	large := start(t, withEcho, forAutobahn)
	played := map[string]int{}
	run := func(tc autobahnCase) {
		group, _, _ := strings.Cut(tc.id, ".")
		played[group]++
		t.Run(tc.id, func(t *testing.T) {
			w := small
			if group == "9" || tc.id == "7.1.6" {
				w = large
			}
			c := w.raw()
			c.t = t
			defer c.Close()
			check(t, c.SetDeadline(time.Now().Add(time.Minute)))
			c.upgrade()
			tc.play(c)
		})
	}
	for _, tc := range slices.Concat(autobahnFraming(), autobahnUTF8(), autobahnClosing()) {
		run(tc)
	}
	for tc := range autobahnLarge() {
		run(tc)
	}
	// So many cases the suite has in each group.
	for group, n := range map[string]int{"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1} {
		if played[group] != n {
			t.Errorf("group %s has %d cases, want %d", group, played[group], n)
		}
	}
}

func (tc autobahnCase) play(c *rawClient) {
	for _, step := range tc.steps[:len(tc.steps)-1] {
		c.sendAll(step.chops)
		c.expectAll(step.want)
	}
	last := tc.steps[len(tc.steps)-1]
	c.sendAll(last.chops)
	want := last.want
	if !tc.fails {
		c.expectAll(last.want)
		c.send(peerClose(1000, ""))
		want = closeFrame(1000, "")
	}
	if got := c.rest(); got != want {
		c.t.Fatalf("in the end the server said %s, want %s and its end", shown(got), shown(want))
	}
}

// sendAll writes each chop by itself; the kernel sends it as a segment of its
// own, or has it wait together with others for the reader.
func (c *rawClient) sendAll(chops []string) {
	c.t.Helper()
	for _, chop := range chops {
		c.send(chop)
	}
}

func (c *rawClient) expectAll(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.Conn, got); err != nil || string(got) != want {
		c.t.Fatalf("the server said %s (%v), want %s", shown(string(got[:n])), err, shown(want))
	}
}

// shown is a stream for a message about it.
func shown(p string) string {
	const most = 40
	if len(p) <= most {
		return hex.EncodeToString([]byte(p))
	}
	return fmt.Sprintf("%x… (%d bytes)", p[:most], len(p))
}

// In 6.4.3 and 6.4.4 the server must not have failed at the first chop: if the
// rest is valid, the text comes back.
func TestAValidBeginningOfATextFrameIsWaitedWith(t *testing.T) {
	w := start(t, withEcho)
	for _, text := range []string{"κόσμεedited", "κόσμε\U0010FFFFedited"} {
		whole := frame(textOp, text)
		for at := len(whole) - len(text); at < len(whole); at++ {
			c := w.raw()
			c.upgrade()
			received := w.srv.Stats().BytesReceived
			c.send(whole[:at])
			w.until("the chop is read", func(s Stats) bool { return s.BytesReceived == received+uint64(at) })
			c.send(whole[at:])
			c.expect(textFrame(text))
			c.Close()
		}
	}
}
