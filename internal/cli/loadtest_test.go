package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	coder "github.com/coder/websocket"
)

// pipes is a listener whose connections stay in memory, so that a bubble of
// synctest sees all that waits.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inVirtualTime runs a test against a server of f.
func inVirtualTime(t *testing.T, test *loadTest, f func(ctx context.Context, ws *coder.Conn)) *loadTestReport {
	t.Helper()
	var report *loadTestReport
	synctest.Test(t, func(t *testing.T) {
		listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		var serving sync.WaitGroup
		server := &http.Server{Handler: peerHandler(t, func(ctx context.Context, ws *coder.Conn) {
			serving.Add(1)
			defer serving.Done()
			f(ctx, ws)
		})}
		serving.Go(func() { server.Serve(listener) }) // ends with Close
		d, err := (&dialFlags{timeout: time.Minute}).dialer(&Env{}, "ws://pipe/")
		if err != nil {
			t.Fatal(err)
		}
		d.dialContext = listener.dial
		test.dialer = d
		if report, err = test.run(t.Context(), &Env{}); err != nil {
			t.Error(err)
		}
		server.Close()
		serving.Wait()
	})
	if report == nil {
		t.FailNow()
	}
	return report
}

// stallsOnce echoes, and stops for a second before one of its replies.
func stallsOnce(at int) func(ctx context.Context, ws *coder.Conn) {
	return func(ctx context.Context, ws *coder.Conn) {
		for n := 0; ; n++ {
			kind, data, err := ws.Read(ctx)
			if err != nil {
				return
			}
			if n == at {
				time.Sleep(time.Second) // of the bubble
			}
			if ws.Write(ctx, kind, data) != nil {
				return
			}
		}
	}
}

// With a rate, the stall of a second is seen by each of the 100 messages that
// were due in it, a tenth of all.
func TestAStallShowsInEveryMessageThatItDelayed(t *testing.T) {
	r := inVirtualTime(t, &loadTest{conns: 1, rate: 100, duration: 10 * time.Second, replyTimeout: time.Minute, kind: coder.MessageText, message: []byte("x")}, stallsOnce(300))
	if r.sent != 1000 || r.replies != 1000 || r.errors() != 0 || r.unasked != 0 || r.elapsed != 10*time.Second {
		t.Errorf("sent %d, replies %d, errors %d, unasked %d in %v", r.sent, r.replies, r.errors(), r.unasked, r.elapsed)
	}
	for q, want := range map[float64]time.Duration{0.5: 0, 0.89: 0, 0.95: 500 * time.Millisecond, 0.99: 900 * time.Millisecond, 1: time.Second} {
		if got := r.latency.Quantile(q); got < want || got > want+want/50 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := r.rate(); got != 100 {
		t.Errorf("the rate is %v", got)
	}
}

// Without one, only the message that it hit shows it.
func TestAClosedLoopHidesAStall(t *testing.T) {
	every := func(ctx context.Context, ws *coder.Conn) {
		for n := 0; ; n++ {
			kind, data, err := ws.Read(ctx)
			if err != nil {
				return
			}
			wait := time.Millisecond
			if n == 300 {
				wait = time.Second
			}
			time.Sleep(wait) // of the bubble
			if ws.Write(ctx, kind, data) != nil {
				return
			}
		}
	}
	// The half of a millisecond keeps the end of the test apart from a reply.
	r := inVirtualTime(t, &loadTest{conns: 1, duration: 10*time.Second + 500*time.Microsecond, replyTimeout: time.Minute, kind: coder.MessageText, message: []byte("x")}, every)
	if r.latency.Quantile(0.999) > 2*time.Millisecond || r.latency.Max() != time.Second || r.replies != 9002 {
		t.Errorf("%d replies, p99.9 %v, longest %v", r.replies, r.latency.Quantile(0.999), r.latency.Max())
	}
}

func TestTheRateIsSpreadOverTheConnections(t *testing.T) {
	var mu sync.Mutex
	perConn := map[*coder.Conn]int{}
	r := inVirtualTime(t, &loadTest{conns: 7, rate: 70, duration: 3 * time.Second, replyTimeout: time.Minute, kind: coder.MessageBinary, message: []byte("x")},
		func(ctx context.Context, ws *coder.Conn) {
			for {
				kind, data, err := ws.Read(ctx)
				if err != nil || ws.Write(ctx, kind, data) != nil {
					return
				}
				mu.Lock()
				perConn[ws]++
				mu.Unlock()
			}
		})
	if r.sent != 210 || len(perConn) != 7 {
		t.Errorf("sent %d over %d connections", r.sent, len(perConn))
	}
	for _, n := range perConn {
		if n != 30 {
			t.Errorf("a connection sent %d", n)
		}
	}
}

// What has not come when the replies' time is up is missing; the test does not
// wait longer.
func TestMissingRepliesAreCounted(t *testing.T) {
	began := time.Time{}
	everySecond := func(ctx context.Context, ws *coder.Conn) {
		began = time.Now()
		for n := 0; ; n++ {
			kind, data, err := ws.Read(ctx)
			if err != nil {
				began = time.Time{}.Add(time.Since(began))
				return
			}
			if n%2 == 0 && ws.Write(ctx, kind, data) != nil {
				return
			}
		}
	}
	r := inVirtualTime(t, &loadTest{conns: 1, rate: 10, duration: 10 * time.Second, replyTimeout: 3 * time.Second, kind: coder.MessageText, message: []byte("x")}, everySecond)
	if r.sent != 100 || r.replies != 50 || r.missing != 50 || r.lost != 0 || r.errors() != 50 {
		t.Errorf("sent %d, replies %d, missing %d, lost %d", r.sent, r.replies, r.missing, r.lost)
	}
	if took := began.Sub(time.Time{}); took != 13*time.Second {
		t.Errorf("it took %v", took)
	}
	if r.rate() != 5 {
		t.Errorf("the rate is %v", r.rate())
	}
}

// A pipe holds nothing, so the eleventh message waits for ever, and those behind
// it do not even begin.
func TestWhatTheServerDoesNotReadIsCounted(t *testing.T) {
	stops := func(ctx context.Context, ws *coder.Conn) {
		for range 10 {
			kind, data, err := ws.Read(ctx)
			if err != nil || ws.Write(ctx, kind, data) != nil {
				return
			}
		}
		time.Sleep(time.Hour) // of the bubble
		ws.CloseNow()
	}
	r := inVirtualTime(t, &loadTest{conns: 1, rate: 10, duration: 10 * time.Second, replyTimeout: 3 * time.Second, kind: coder.MessageText, message: []byte("x")}, stops)
	if r.sent != 11 || r.replies != 10 || r.missing != 1 || r.unsent != 89 || r.lost != 0 || r.errors() != 90 {
		t.Errorf("sent %d, replies %d, missing %d, unsent %d, lost %d", r.sent, r.replies, r.missing, r.unsent, r.lost)
	}
}

func TestNoReplyAtAllEndsTheTestEarly(t *testing.T) {
	for _, rate := range []float64{0, 10} {
		r := inVirtualTime(t, &loadTest{conns: 3, rate: rate, duration: time.Hour, replyTimeout: 5 * time.Second, kind: coder.MessageText, message: []byte("x")}, deaf)
		if !r.silent || r.replies != 0 || r.lost != 0 || r.elapsed != 5*time.Second || r.missing != r.sent || r.sent == 0 {
			t.Errorf("rate %v: %d sent, %d missing, %d lost, silent %v after %v", rate, r.sent, r.missing, r.lost, r.silent, r.elapsed)
		}
	}
}

func TestLostConnectionsAreCountedWithTheirReason(t *testing.T) {
	closing := func(ctx context.Context, ws *coder.Conn) {
		ws.Read(ctx)
		ws.Close(4400, "not\x1b a chat message")
	}
	for _, rate := range []float64{0, 10} {
		r := inVirtualTime(t, &loadTest{conns: 5, rate: rate, duration: time.Hour, replyTimeout: 5 * time.Second, kind: coder.MessageText, message: []byte("x")}, closing)
		const why = `closed 4400 (the application's own): not\x1b a chat message`
		if r.lost != 5 || r.reasons[why] != 5 || r.elapsed >= 5*time.Second {
			t.Errorf("rate %v: %d lost for %v after %v", rate, r.lost, r.reasons, r.elapsed)
		}
	}
}

func TestMessagesThatNobodyAskedForAreCounted(t *testing.T) {
	twice := func(ctx context.Context, ws *coder.Conn) {
		for {
			kind, data, err := ws.Read(ctx)
			if err != nil || ws.Write(ctx, kind, data) != nil || ws.Write(ctx, kind, data) != nil {
				return
			}
		}
	}
	r := inVirtualTime(t, &loadTest{conns: 1, rate: 10, duration: time.Second, replyTimeout: time.Minute, kind: coder.MessageText, message: []byte("x")}, twice)
	if r.replies != 10 || r.unasked == 0 {
		t.Errorf("%d replies, %d unasked", r.replies, r.unasked)
	}
}

func TestManyReasonsAreNotAllRemembered(t *testing.T) {
	test := &loadTest{reasons: map[string]int{}}
	for i := range 100 {
		test.lose(coder.CloseError{Code: coder.StatusCode(3000 + i)})
		test.lose(coder.CloseError{Code: 3000})
	}
	if len(test.reasons) > maxReasons+1 || test.reasons["closed 3000 (a library's own)"] != 101 || test.lost.Load() != 200 {
		t.Errorf("%d reasons: %v", len(test.reasons), test.reasons)
	}
}

// The command, against our own server.
func TestBench(t *testing.T) {
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", echoModule)
	code, stdout, stderr := command(t, Env{}, "bench", s.url, "--conns", "5", "--rate", "500", "--for", "200ms", "--size", "300", "--binary",
		"--threshold", "errors<=0", "--threshold", "max<1m", "--threshold", "rate>1", "--threshold", "p99<1ns", "-o", "json")
	var got benchResult
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v; exit code %d, printed %q, said %q", err, code, stdout, stderr)
	}
	if got.Connections != 5 || got.Bytes != 300 || got.Sent < 90 || got.Sent > 100 || got.Replies != got.Sent || got.Errors != 0 || got.TargetRate != 500 || got.Seconds < 0.2 {
		t.Errorf("printed %s", stdout)
	}
	if l := got.LatencyMS; l["min"] <= 0 || l["p50"] < l["min"] || l["p99"] < l["p50"] || l["p999"] < l["p99"] || l["max"] < l["p999"]-1 {
		t.Errorf("the latencies are %v", l)
	}
	for i, ok := range []bool{true, true, true, false} {
		if got.Thresholds[i].OK != ok {
			t.Errorf("%+v", got.Thresholds[i])
		}
	}
	if code != 99 || !strings.HasSuffix(strings.TrimSpace(stderr), got.Thresholds[3].Got) || !strings.Contains(stderr, "weir: threshold crossed: p99<1ns: it is ") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}

	code, stdout, stderr = command(t, Env{}, "bench", s.url, "--for", "100ms", "--threshold", "errors<1")
	for _, part := range []string{" · 10 connections, opened in ", " · 128 B · each waits for its reply\n", "\n  latency   min ", "\n  errors    0\n", "\n  ok        errors<1: 0\n"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("printed\n%s\nwithout %q", stdout, part)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestBenchAgainstAHandlerThatDoesNotEcho(t *testing.T) {
	code, stdout, _ := command(t, Env{}, "bench", peer(t, deaf), "--for", "1h", "--reply-timeout", "20ms", "--threshold", "p50<1h")
	if code != 99 || !strings.Contains(stdout, "p50<1h: unknown, there was no reply") || !strings.Contains(stdout, "replies missing: 10\n") {
		t.Errorf("exit code %d, printed\n%s", code, stdout)
	}
	code, _, stderr := command(t, Env{}, "bench", peer(t, deaf), "--for", "1h", "--reply-timeout", "20ms")
	if code != 1 || !strings.Contains(stderr, "no reply came to 10 messages; the handler must send one back for each, as an echo does") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
	code, _, stderr = command(t, Env{}, "bench", peer(t, func(_ context.Context, ws *coder.Conn) { ws.Close(1013, "") }), "--for", "1h", "--conns", "2")
	if code != 1 || !strings.Contains(stderr, "no reply came, and every connection was lost: 2 × closed 1013 (try again later)") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
}

func TestBenchNeedsAllItsConnections(t *testing.T) {
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "--set", "server.max_connections=3", echoModule)
	code, stdout, stderr := command(t, Env{}, "bench", s.url, "--conns", "20", "--for", "1h")
	if code != 5 || stdout != "" || !strings.Contains(stderr, "the server answered 503 ") {
		t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
	}
	s.stop()
	code, _, stderr = command(t, Env{}, "bench", s.url)
	if code != 5 || !strings.Contains(stderr, "connection refused") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
}

// A server that takes connections and says nothing.
func TestOpeningConnectionsIsBounded(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, verb := range []string{"bench", "connect"} {
		code, _, stderr := command(t, Env{Stdin: strings.NewReader("")}, verb, mute.Addr().String(), "--timeout", "30ms")
		if code != 5 || !strings.Contains(stderr, "30ms") {
			t.Errorf("%s: exit code %d, said %q", verb, code, stderr)
		}
	}
}

func TestASignalEndsABenchmarkWithItsResults(t *testing.T) {
	answered := make(chan struct{}, 1)
	url := peer(t, func(ctx context.Context, ws *coder.Conn) {
		for {
			kind, data, err := ws.Read(ctx)
			if err != nil || ws.Write(ctx, kind, data) != nil {
				return
			}
			select {
			case answered <- struct{}{}:
			default:
			}
		}
	})
	signals, stdout, code := make(chan os.Signal, 1), newLines(), make(chan int, 1)
	go func() {
		code <- Run(context.Background(), Env{Args: []string{"bench", url, "--for", "1h", "--rate", "100"}, Signals: signals, Stdout: stdout, Stderr: newLines()})
	}()
	<-answered
	signals <- syscall.SIGINT
	select {
	case got := <-code:
		if got != 0 || !strings.Contains(stdout.String(), "interrupted") || !strings.Contains(stdout.String(), "latency") {
			t.Errorf("exit code %d, printed\n%s", got, stdout)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func TestATerminalSeesProgress(t *testing.T) {
	reports := 0
	test := &loadTest{conns: 2, rate: 10, duration: 5500 * time.Millisecond, replyTimeout: time.Minute, kind: coder.MessageText, message: []byte("x")}
	test.progress = func(r loadTestReport) {
		if reports++; r.elapsed != time.Duration(reports)*time.Second || r.sent < uint64(10*reports) || r.missing != 0 {
			t.Errorf("report %d says %v and %d sent, %d missing", reports, r.elapsed, r.sent, r.missing)
		}
	}
	inVirtualTime(t, test, echoing)
	if reports != 5 {
		t.Errorf("there were %d reports", reports)
	}
}

func TestBenchRefusesWrongUsage(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"no address", nil, []string{"URL is missing"}},
		{"everything at once", []string{"ftp://a", "--conns", "0", "--rate", "-1", "--for", "0s", "--size", "-1", "--reply-timeout", "0s", "-o", "xml", "--threshold", "p42<1s"},
			[]string{"weir: 8 things are wrong:", `"ftp" is not a scheme`, "--conns 0: give 1 to 60000", "--rate -1", "--for 0s", "--reply-timeout 0s", "--size -1", "-o xml: write text or json",
				`--threshold "p42<1s": there is no metric "p42"; there are p50, p90, p99, p999, max, errors, rate`}},
		{"a rate that is no number", []string{"a", "--rate", "NaN"}, []string{"--rate NaN: give up to 10000000"}},
		{"a threshold without a bound", []string{"a", "--threshold", "p99"}, []string{"write it as METRIC<BOUND, such as p99<20ms"}},
		{"a latency without a unit", []string{"a", "--threshold", "p99<20"}, []string{`"20" is not a duration to compare p99 with, such as 20ms`}},
		{"a number with one", []string{"a", "--threshold", "errors<1s"}, []string{`"1s" is not a number to compare errors with`}},
		{"text that is none", []string{"a", "-m", "\xff"}, []string{"--message: it is not UTF-8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := command(t, Env{}, append([]string{"bench"}, tc.args...)...)
			if code != 2 {
				t.Errorf("exit code %d", code)
			}
			for _, part := range tc.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("said\n%s\nwithout %q", stderr, part)
				}
			}
		})
	}
}

func TestThresholds(t *testing.T) {
	r := &loadTestReport{replies: 200, elapsed: 2 * time.Second, lost: 1, missing: 2}
	for range 99 {
		r.latency.Record(time.Millisecond)
	}
	r.latency.Record(time.Second)
	for text, want := range map[string]bool{
		"p50<2ms": true, "p50 <= 1ms": false, "p50<=1.01ms": true, "p999>900ms": true, "max<1s": false, "max<=1s": true,
		"errors<3": false, "errors<=3": true, "rate>=100": true, "rate>100": false, "rate<1e3": true,
	} {
		one, err := parseThreshold(text)
		if err != nil {
			t.Fatal(err)
		}
		if holds, got := one.check(r); holds != want {
			t.Errorf("%s: %v with %s", text, holds, got)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, text := range []string{"p99<20ms", "errors<=0", "rate>1e3", "max>=1h", "<", "p50<-1s", "rate<NaN"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		one, err := parseThreshold(text)
		if err != nil {
			return
		}
		if !(one.bound >= 0) || one.op == "" {
			t.Errorf("%q is %+v", text, one)
		}
		one.check(&loadTestReport{})
	})
}

// A hammer of what the connections of a test share.
func TestCountingIsSafeFromManyConnections(t *testing.T) {
	test := &loadTest{start: time.Now(), reasons: map[string]int{}}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				shard := &test.shards[i%2]
				shard.wrote(time.Millisecond)
				shard.reply(test.start)
				test.replies.Add(1)
				test.lose(errors.New("x"))
				var r loadTestReport
				test.sum(&r)
				if r.latency.Count() == 0 {
					t.Error("a reply is not counted")
				}
			}
		})
	}
	all.Wait()
	var r loadTestReport
	test.sum(&r)
	if r.latency.Count() != 1600 || r.late.Count() != 1600 || r.replies != 1600 || r.lost != 1600 || r.reasons["closed 1006 (connection lost)"] != 1600 {
		t.Errorf("it counts %d, %d, %d, %d, %v", r.latency.Count(), r.late.Count(), r.replies, r.lost, r.reasons)
	}
}
