// The conformance guest in Go; ../README.md says what it does.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	weir "weir/guest-sdk/go"
)

const events = "events"

var (
	config []byte
	kept   []byte // nil until something is
)

func init() {
	weir.Handle(weir.Handler{
		Init: start, Upgrade: upgrade, Open: open, Message: message, Close: closed, Timer: timer, Drain: drain,
		Save: save, Restore: restore,
	})
}

func main() {}

func start(text []byte) error {
	config = bytes.Clone(text)
	if bytes.Contains(text, []byte("refuse")) {
		return errors.New("as the configuration asks")
	}
	return nil
}

func upgrade(u *weir.Upgrade) error {
	if status := u.Query("reject"); status != "" {
		code, err := strconv.Atoi(status)
		if err != nil {
			return errors.New("as the request asks")
		}
		return weir.Reject(code)
	}
	if name := u.Query("pick"); name != "" {
		if u.SetProtocol(name) != nil {
			return weir.Reject(418)
		}
		return nil
	}
	state := u.Query("state")
	if u.Query("uri") != "" {
		state = u.URI()
	}
	if name := u.Query("echo"); name != "" {
		state = cmp.Or(u.Header(name), "none")
	}
	if name := u.Query("answer"); name != "" {
		state = status(u.AddHeader(name, "yes"))
	}
	if state == "" {
		return nil
	}
	return u.SetState([]byte(state))
}

func open(c weir.Conn) error {
	switch c.Query("open") {
	case "fail":
		return errors.New("as the request asks")
	case "close":
		return c.Close(4001, "no")
	}
	return c.SendText("open")
}

func message(c weir.Conn, m weir.Message) error {
	if m.Kind == weir.KindBinary {
		return c.Send(m)
	}
	for line := range strings.SplitSeq(string(m.Data), "\n") {
		words := strings.Split(line, " ")
		if words[0] == "fail" {
			return errors.New("as the client asks")
		}
		answer := "unknown"
		if came, known := run(c, words[0], words[1:]); known {
			answer = words[0] + " " + came
		}
		if c.SendText(answer) != nil { // it has been closed
			tell(weir.None, answer)
		}
	}
	return nil
}

// run does one command and returns what came of it.
func run(c weir.Conn, name string, args []string) (came string, known bool) {
	conn := func(i int) weir.Conn {
		if args[i] == "self" {
			return c
		}
		return weir.Conn(number(args[i]))
	}
	switch name {
	case "send":
		return status(conn(0).Send(weir.Message{Kind: kind(args[1]), Data: data(args[2])})), true
	case "close":
		return status(conn(0).Close(int(number(args[1])), string(data(args[2])))), true
	case "attr":
		value, err := conn(0).Attr(string(data(args[1])))
		return read([]byte(value), err), true
	case "query":
		return word([]byte(c.Query(args[0]))), true
	case "param":
		return word([]byte(c.Param(args[0]))), true
	case "state":
		value, err := conn(0).ReadState()
		return read(value, err), true
	case "set":
		return status(conn(0).SetState(data(args[1]))), true
	case "queued":
		if conn(0).Queued() < 0 {
			return "negative", true
		}
		return "ok", true
	case "join":
		return status(conn(0).Join(string(data(args[1])))), true
	case "leave":
		return status(conn(0).Leave(string(data(args[1])))), true
	case "publish":
		return status(weir.PublishExcept(string(data(args[0])), weir.Message{Kind: kind(args[1]), Data: data(args[2])}, conn(3))), true
	case "count":
		return strconv.Itoa(weir.Count(string(data(args[0])))), true
	case "timer":
		return status(conn(0).SetTimer(number(args[1]), millis(args[2]), millis(args[3]))), true
	case "cancel":
		return status(conn(0).CancelTimer(number(args[1]))), true
	case "clock":
		now, up := weir.Now(), weir.Uptime()
		if now.Equal(weir.Now()) && up == weir.Uptime() && now.Year() >= 2020 {
			return "stands", true
		}
		return "runs", true
	case "random":
		n := number(args[0])
		first, second := make([]byte, n), make([]byte, n)
		weir.Random(first)
		weir.Random(second)
		if bytes.Equal(first, second) {
			return "0 old", true
		}
		return "0 new", true
	case "log":
		level := map[string]weir.Level{"debug": weir.LevelDebug, "info": weir.LevelInfo, "warn": weir.LevelWarn, "error": weir.LevelError}[args[0]]
		weir.Log(level, string(data(args[1])))
		return "0", true
	case "metric":
		return status(weir.AddMetric(string(data(args[0])), number(args[1]))), true
	case "has":
		if weir.Has(string(data(args[0]))) {
			return "1", true
		}
		return "0", true
	case "key":
		return read([]byte(weir.Key()), nil), true
	case "generation":
		return strconv.FormatUint(weir.Generation(), 10), true
	case "config":
		return word(config), true
	case "keep":
		kept = data(args[0])
		return "0", true
	case "kept":
		return word(kept), true
	case "trap":
		panic("as the client asks")
	}
	return "", false
}

func closed(c weir.Conn, why weir.Closed) error {
	how := "broken"
	if why.Clean {
		how = "clean"
	}
	tell(weir.None, fmt.Sprintf("close %d %s %s", why.Code, how, word([]byte(why.Reason))))
	tell(weir.None, "after "+status(c.SendText("late")))
	return nil
}

func timer(c weir.Conn, id int64) error { return tell(c, fmt.Sprintf("timer %d", id)) }

func drain(c weir.Conn, left time.Duration) error {
	return tell(c, fmt.Sprintf("drain %d", left.Milliseconds()))
}

func save() ([]byte, error) {
	if string(kept) == "refuse" {
		return nil, errors.New("as the client asks")
	}
	return kept, nil
}

func restore(state []byte, savedBy uint64) error {
	if string(state) == "poison" {
		return errors.New("as the client asks")
	}
	kept = fmt.Appendf(bytes.Clone(state), " by %d", savedBy)
	return nil
}

// tell tells the connection, or those who listen to the module. That those may not be reached is not an error.
func tell(c weir.Conn, text string) error {
	if c != weir.None {
		return c.SendText(text)
	}
	_ = weir.Publish(events, weir.Text(text))
	return nil
}

// status is the number of the status that an error stands for.
func status(err error) string {
	var refused *weir.Error
	if errors.As(err, &refused) {
		return strconv.Itoa(int(refused.Status))
	}
	return "0"
}

func read(value []byte, err error) string {
	if err != nil {
		return status(err)
	}
	return strconv.Itoa(len(value)) + " " + word(value)
}

// data is what a word stands for.
func data(word string) []byte {
	switch {
	case word == "-":
		return []byte{}
	case strings.HasPrefix(word, "x:"):
		return unhex(word[2:])
	case strings.HasPrefix(word, "r:"):
		digits, times, _ := strings.Cut(word[2:], "*")
		return bytes.Repeat(unhex(digits), int(number(times)))
	}
	return []byte(word)
}

// word stands for bytes.
func word(p []byte) string {
	plain := func(r rune) bool { return r < '!' || r > '~' }
	switch {
	case len(p) == 0:
		return "-"
	case len(p) > 64:
		sum := uint32(0)
		for _, b := range p {
			sum += uint32(b)
		}
		return fmt.Sprintf("#%d:%d", len(p), sum)
	case bytes.ContainsFunc(p, plain):
		return fmt.Sprintf("x:%x", p)
	}
	return string(p)
}

func unhex(digits string) []byte {
	p := make([]byte, 0, len(digits)/2)
	for i := 0; i+1 < len(digits); i += 2 {
		b, _ := strconv.ParseUint(digits[i:i+2], 16, 8)
		p = append(p, byte(b))
	}
	return p
}

func number(word string) int64 {
	n, _ := strconv.ParseInt(word, 10, 64)
	return n
}

func millis(word string) time.Duration {
	return time.Duration(min(number(word), 1<<43)) * time.Millisecond
}

func kind(word string) weir.Kind {
	if word == "text" {
		return weir.KindText
	}
	return weir.KindBinary
}
