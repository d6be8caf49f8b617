package load

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func offering(rate int) Offering {
	return Offering{
		Stretches: []Stretch{{Rate: rate, For: 40 * time.Millisecond}, {Rate: 2 * rate, For: 40 * time.Millisecond}},
		Slice:     20 * time.Millisecond, Deadline: time.Hour, Return: 10 * time.Millisecond,
	}
}

// sum adds up the slices; of the latencies it keeps the last.
func sum(slices []Slice) (all Slice) {
	for _, s := range slices {
		all.Offered += s.Offered
		all.Withheld += s.Withheld
		all.Answered += s.Answered
		all.InTime += s.InTime
		all.Closed += s.Closed
	}
	return all
}

func TestMessagesAreOfferedAtTheRate(t *testing.T) {
	all, err := Offer(t.Context(), options(fake{reply: echoReply}.start(t)), offering(1000))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || len(all[0]) != 2 {
		t.Fatalf("%d stretches", len(all))
	}
	first, second := sum(all[0]), sum(all[1])
	if first.Offered != 40 || second.Offered != 80 {
		t.Errorf("%d and %d messages were offered, want 40 and 80", first.Offered, second.Offered)
	}
	answered := first.Answered + second.Answered
	if sent := first.Offered - first.Withheld + second.Offered - second.Withheld; answered == 0 || answered > sent || first.InTime+second.InTime != answered {
		t.Errorf("%d were sent, %d answered, %d and %d in time", sent, answered, first.InTime, second.InTime)
	}
}

func TestAClientGivesUpWhatIsTooMuch(t *testing.T) {
	o := options(fake{reply: func(int, []byte) []byte { return nil }}.start(t))
	o.Depth, o.Patience = 2, 100*time.Millisecond
	// Three connections leave two messages each unanswered; the others of 120 are never sent.
	if _, err := Offer(t.Context(), o, offering(1000)); err == nil || !strings.Contains(err.Error(), "6 replies missing") {
		t.Errorf("got error %v", err)
	}
}

func TestALateAnswerIsNotInTime(t *testing.T) {
	how := offering(1000)
	how.Deadline = 0
	all, err := Offer(t.Context(), options(fake{reply: echoReply}.start(t)), how)
	if err != nil {
		t.Fatal(err)
	}
	if s := sum(all[0]); s.Answered == 0 || s.InTime != 0 {
		t.Errorf("%d answers, %d of them in time", s.Answered, s.InTime)
	}
}

func TestAClientThatWasClosedComesAgain(t *testing.T) {
	o := options(fake{reply: func(n int, m []byte) []byte {
		if n == 1 { // the second message of each connection
			return serverFrame(0x88, []byte("\x03\xf5busy"))
		}
		return echoReply(n, m)
	}}.start(t))
	o.Conns = 1
	how := offering(500)
	how.Stretches[1].For = time.Second
	all, err := Offer(t.Context(), o, how)
	if err != nil {
		t.Fatal(err)
	}
	if s := sum(append(all[0], all[1]...)); s.Closed < 2 || s.Answered < 2 {
		t.Errorf("closed %d times, %d answers: it did not come again", s.Closed, s.Answered)
	}
}

func TestAWrongAnswerToAnOfferEndsTheRun(t *testing.T) {
	o := options(fake{reply: func(_ int, m []byte) []byte { m[100]++; return serverFrame(0x82, m) }}.start(t))
	if _, err := Offer(t.Context(), o, offering(1000)); err == nil || !strings.Contains(err.Error(), "differs") {
		t.Errorf("got error %v", err)
	}
}

func TestAStretchThatCannotBeginEndsTheRun(t *testing.T) {
	broken := errors.New("broken")
	how := offering(1000)
	how.Stretches[1].Begin = func() error { return broken }
	if _, err := Offer(t.Context(), options(fake{reply: echoReply}.start(t)), how); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
