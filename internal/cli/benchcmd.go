package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"
)

const benchLong = `Opens connections, sends messages, and measures how long the replies take. The server
must send one message back for each that it gets, as an echo does.

With --rate, messages leave at a constant total rate, and a latency counts from when a
message was due: a server that stalls shows every message that it delayed. Without it,
each connection sends its next message when the last was answered: that finds the most a
server can do, and hides what waits meanwhile. This program uses processor time too; on
the server's machine it takes that from the server.

Ctrl-C ends the test early, with its results. Exit codes: 0 measured, 1 nothing was
answered, 2 wrong usage, 5 the connections cannot be opened, 99 a threshold is crossed.`

type benchFlags struct {
	dial       dialFlags
	conns      int
	rate       float64
	duration   time.Duration
	reply      time.Duration
	size       int
	message    string
	binary     bool
	thresholds []string
	output     string
}

// Bounds of what one may ask for; they keep a slip of the finger from taking the
// machine down.
const (
	maxBenchConns = 60_000 // as many as there are ports to one address
	maxBenchRate  = 1e7
	maxBenchSize  = 16 << 20
	maxBenchTime  = 24 * time.Hour
)

func newBench(env *Env) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench URL",
		Short: "measure a server that echoes",
		Long:  benchLong,
		Example: `  weir bench :8080/ --conns 100 --for 30s
  weir bench ws://127.0.0.1:8080/ --rate 5000 --threshold 'p99<20ms' --threshold 'errors<1'`,
		GroupID: "clients",
		Args:    exactly("URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			test, thresholds, err := f.test(env, args[0])
			if err != nil {
				return err
			}
			wipe := "" // what wipes the line of progress away
			if env.Terminal {
				test.progress = func(r loadTestReport) {
					wipe = "\r\x1b[K"
					fmt.Fprintf(env.Stderr, "%s%v of %v: %d replies, %.0f/s, p99 %s, %d lost",
						wipe, r.elapsed.Round(time.Second), test.duration, r.replies, r.rate(), durationText(r.latency.Quantile(0.99)), r.lost)
				}
			}
			report, err := test.run(cmd.Context(), env)
			fmt.Fprint(env.Stderr, wipe)
			if err != nil {
				return err
			}
			return f.judge(env, test, report, thresholds)
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.conns, "conns", "c", 10, "how many `CONNECTIONS` to open")
	flags.Float64VarP(&f.rate, "rate", "r", 0, "`MESSAGES` a second over all connections; 0 sends when the last was answered")
	flags.DurationVarP(&f.duration, "for", "d", 10*time.Second, "how long to send")
	flags.IntVarP(&f.size, "size", "s", 128, "`BYTES` of a message")
	flags.StringVarP(&f.message, "message", "m", "", "`TEXT` to send instead of --size bytes")
	flags.BoolVar(&f.binary, "binary", false, "send binary messages")
	flags.StringArrayVar(&f.thresholds, "threshold", nil, "`BOUND` that must hold, such as 'p99<20ms': "+strings.Join(thresholdMetrics, ", ")+"; may be repeated")
	flags.DurationVar(&f.reply, "reply-timeout", 5*time.Second, "how long to wait for the first reply, and at the end for the last ones")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` of the result: text or json")
	f.dial.register(flags, "how long opening all connections may take")
	return cmd
}

// test checks the flags, all of them.
func (f *benchFlags) test(env *Env, address string) (*loadTest, []threshold, error) {
	d, dialErr := f.dial.dialer(env, address)
	errs := []error{dialErr}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.conns < 1 || f.conns > maxBenchConns {
		bad("--conns %d: give 1 to %d", f.conns, maxBenchConns)
	}
	if !(f.rate >= 0 && f.rate <= maxBenchRate) { // not a number either
		bad("--rate %v: give up to %.0f, or 0 for as fast as replies come", f.rate, maxBenchRate)
	}
	if f.duration <= 0 || f.duration > maxBenchTime {
		bad("--for %v: give a duration up to %v, such as 30s", f.duration, maxBenchTime)
	}
	if f.reply <= 0 || f.reply > maxBenchTime {
		bad("--reply-timeout %v: give a duration up to %v, such as 5s", f.reply, maxBenchTime)
	}
	if f.size < 0 || f.size > maxBenchSize {
		bad("--size %d: give 0 to %d bytes", f.size, maxBenchSize)
	}
	if !f.binary && !utf8.ValidString(f.message) {
		bad("--message: it is not UTF-8, as text must be; --binary sends any bytes")
	}
	if f.output != "text" && f.output != "json" {
		bad("-o %s: write text or json", f.output)
	}
	var thresholds []threshold
	for _, text := range f.thresholds {
		t, err := parseThreshold(text)
		if err != nil {
			bad("--threshold %q: %w", text, err)
		}
		thresholds = append(thresholds, t)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	test := &loadTest{dialer: d, conns: f.conns, rate: f.rate, duration: f.duration, replyTimeout: f.reply, kind: websocket.MessageText}
	if f.binary {
		test.kind = websocket.MessageBinary
	}
	if test.message = []byte(f.message); f.message == "" {
		test.message = bytes.Repeat([]byte("weir-bench "), f.size/11+1)[:f.size]
	}
	return test, thresholds, nil
}

// rate is replies a second.
func (r *loadTestReport) rate() float64 {
	if r.elapsed <= 0 {
		return 0
	}
	return float64(r.replies) / r.elapsed.Seconds()
}

// benchResult is what -o json prints; the keys stay as they are.
type benchResult struct {
	URL         string             `json:"url"`
	Connections int                `json:"connections"`
	TargetRate  float64            `json:"target_rate"` // messages a second; 0 = closed loop
	Bytes       int                `json:"message_bytes"`
	Seconds     float64            `json:"seconds"` // of sending and replies
	OpeningMS   float64            `json:"opening_ms"`
	Sent        uint64             `json:"sent"`
	Replies     uint64             `json:"replies"`
	Rate        float64            `json:"rate"` // replies a second
	Errors      uint64             `json:"errors"`
	Lost        uint64             `json:"connections_lost"`
	LostBecause map[string]int     `json:"lost_because,omitempty"`
	Missing     uint64             `json:"replies_missing"`
	Unsent      uint64             `json:"messages_unsent"`
	Unasked     uint64             `json:"messages_unasked"`
	LatencyMS   map[string]float64 `json:"latency_ms,omitempty"` // none without replies
	LateMS      map[string]float64 `json:"sent_late_ms,omitempty"`
	Thresholds  []thresholdResult  `json:"thresholds,omitempty"`
	Interrupted bool               `json:"interrupted"`
}

type thresholdResult struct {
	Threshold string `json:"threshold"`
	Got       string `json:"got"`
	OK        bool   `json:"ok"`
}

// judge prints the report and returns what it means.
func (f *benchFlags) judge(env *Env, t *loadTest, r *loadTestReport, thresholds []threshold) error {
	var crossed []string
	var results []thresholdResult
	for _, one := range thresholds {
		holds, got := one.check(r)
		results = append(results, thresholdResult{one.text, got, holds})
		if !holds {
			crossed = append(crossed, fmt.Sprintf("%s: it is %s", one.text, got))
		}
	}
	var err error
	if f.output == "json" {
		err = json.NewEncoder(env.Stdout).Encode(t.result(r, results))
	} else {
		_, err = fmt.Fprint(env.Stdout, t.text(r, results))
	}
	switch {
	case err != nil:
		return err
	case len(crossed) > 0:
		var errs []error
		for _, c := range crossed {
			errs = append(errs, errors.New("threshold crossed: "+c))
		}
		return &exitError{exitBounds, errors.Join(errs...)}
	case r.sent > 0 && r.replies == 0:
		return errors.New(t.whyNoReplies(r))
	}
	return nil
}

func (t *loadTest) whyNoReplies(r *loadTestReport) string {
	if r.lost == uint64(t.conns) {
		return fmt.Sprintf("%s: no reply came, and every connection was lost: %s", t.dialer.url, reasonsText(r.reasons))
	}
	return fmt.Sprintf("%s: no reply came to %d messages; the handler must send one back for each, as an echo does"+
		" (--message sends what it understands, `weir connect` shows what it says)", t.dialer.url, r.sent)
}

func reasonsText(reasons map[string]int) string {
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		all = append(all, fmt.Sprintf("%d × %s", reasons[reason], reason))
	}
	return strings.Join(all, ", ")
}

var reportQuantiles = []struct {
	name string
	q    float64
}{{"min", 0}, {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}}

func (t *loadTest) result(r *loadTestReport, thresholds []thresholdResult) benchResult {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	result := benchResult{
		URL: t.dialer.url, Connections: t.conns, TargetRate: t.rate, Bytes: len(t.message),
		Seconds: r.elapsed.Seconds(), OpeningMS: ms(r.opening),
		Sent: r.sent, Replies: r.replies, Rate: r.rate(), Errors: r.errors(),
		Lost: r.lost, LostBecause: r.reasons, Missing: r.missing, Unsent: r.unsent, Unasked: r.unasked,
		Thresholds: thresholds, Interrupted: r.signaled,
	}
	if r.latency.Count() > 0 {
		result.LatencyMS = map[string]float64{"mean": ms(r.latency.Mean())}
		for _, one := range reportQuantiles {
			result.LatencyMS[one.name] = ms(r.latency.Quantile(one.q))
		}
	}
	if r.late.Count() > 0 {
		result.LateMS = map[string]float64{"p99": ms(r.late.Quantile(0.99)), "max": ms(r.late.Max())}
	}
	return result
}

// text is the result for people.
func (t *loadTest) text(r *loadTestReport, thresholds []thresholdResult) string {
	var b strings.Builder
	model := "each waits for its reply"
	if t.rate > 0 {
		model = strconv.FormatFloat(t.rate, 'f', -1, 64) + " messages/s"
	}
	fmt.Fprintf(&b, "%s · %d connections, opened in %s · %d B · %s\n\n",
		t.dialer.url, t.conns, durationText(r.opening), len(t.message), model)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("time", "%s", durationText(r.elapsed))
	row("sent", "%d", r.sent)
	row("replies", "%d, %.1f/s", r.replies, r.rate())
	if r.latency.Count() > 0 {
		var parts []string
		for _, one := range reportQuantiles {
			name := one.name
			if name == "p999" {
				name = "p99.9"
			}
			parts = append(parts, name+" "+durationText(r.latency.Quantile(one.q)))
		}
		row("latency", "%s", strings.Join(parts, "  "))
	}
	row("errors", "%d", r.errors())
	if r.lost > 0 {
		row("", "connections lost: %s", reasonsText(r.reasons))
	}
	if r.missing > 0 {
		row("", "replies missing: %d", r.missing)
	}
	if r.unsent > 0 {
		row("", "messages that were due and never left, because the server did not read: %d", r.unsent)
	}
	if r.unasked > 0 {
		row("unasked", "%d messages more than were sent: this handler does more than echo, so that replies are guesses", r.unasked)
	}
	// What this program could not send in time counts as latency; say so when it
	// is a good part of it.
	if late := r.late.Quantile(0.99); late > time.Millisecond && late > r.latency.Quantile(0.99)/4 {
		row("late", "1 of 100 messages left %s after it was due: this machine or the connection's buffers are full", durationText(late))
	}
	if r.signaled {
		row("", "interrupted")
	}
	if len(thresholds) > 0 {
		b.WriteByte('\n')
	}
	for _, one := range thresholds {
		verdict := "ok"
		if !one.OK {
			verdict = "CROSSED"
		}
		row(verdict, "%s: %s", one.Threshold, one.Got)
	}
	return b.String()
}
