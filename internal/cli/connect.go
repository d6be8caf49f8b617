package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"
)

const connectLong = `Opens a WebSocket, sends each line of standard input as a text message, and prints what
comes: the seconds since the handshake, the kind, the size and the message. Lines that
begin with / do more:

` + inputHelp + `
On a terminal, the end of the input (Ctrl-D) closes the connection. Otherwise all lines
are sent at once, and the connection is closed when nothing has come for --wait; a line
that is wrong ends it.

Exit codes: 0 closed with 1000 or as asked for, 1 closed otherwise, 2 wrong usage or a
wrong line, 5 the server cannot be reached or refuses.`

type connectFlags struct {
	dial   dialFlags
	json   bool
	output string
	wait   time.Duration
}

func newConnect(env *Env) *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect URL",
		Short: "talk to a WebSocket server",
		Long:  connectLong,
		Example: `  weir connect ws://127.0.0.1:8080/chat/lobby?name=ann --json
  echo '{"type":"say","text":"hi"}' | weir connect :8080/chat/lobby -o ndjson
  weir connect wss://example.com/ --header 'Authorization: Bearer x' --protocol chat.v1`,
		GroupID: "clients",
		Args:    exactly("URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := f.dial.dialer(env, args[0])
			if err != nil {
				return err
			}
			switch {
			case f.output != "text" && f.output != "ndjson":
				return usage("-o %s: write text or ndjson", f.output)
			case f.wait < 0:
				return usage("--wait %v: give 0 or more", f.wait)
			}
			return connect(cmd.Context(), env, d, &f)
		},
	}
	flags := cmd.Flags()
	f.dial.register(flags, "how long the handshake, and a pong, may take")
	flags.BoolVar(&f.json, "json", false, "print messages that are JSON indented")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` of what is printed: text or ndjson")
	flags.DurationVar(&f.wait, "wait", time.Second, "without a terminal: close when nothing has come for so long after the last line; 0 waits until the server closes")
	return cmd
}

// connect runs one connection until it is closed.
func connect(ctx context.Context, env *Env, d *dialer, f *connectFlags) error {
	s := &session{
		env:      env,
		printer:  printer{out: env.Stdout, ndjson: f.output == "ndjson", indent: f.json},
		wait:     f.wait,
		timeout:  f.dial.timeout,
		received: make(chan received),
		asked:    make(chan asked),
		done:     make(chan struct{}),
	}
	began := time.Now()
	dialing, stop := untilSignal(ctx, env)
	conn, err := d.dial(dialing, callbacks{ping: func(payload []byte) {
		s.pass(received{at: time.Now(), event: "ping", data: bytes.Clone(payload)})
	}})
	stop()
	if err != nil {
		return err
	}
	s.conn, s.printer.start = conn, time.Now()
	took := s.printer.start.Sub(began)
	s.printer.opened(d.url, conn.Subprotocol(), took)
	protocol := ""
	if p := conn.Subprotocol(); p != "" {
		protocol = " · subprotocol " + printable(p)
	}
	hint := ""
	if env.StdinTerminal {
		hint = " · /help lists the commands, Ctrl-D closes"
	}
	fmt.Fprintf(env.Stderr, "weir: connected to %s in %s%s%s\n", d.url, durationText(took), protocol, hint)
	return s.run(ctx)
}

// session is one connection. Its fields belong to the goroutine of run, which
// alone prints.
type session struct {
	env     *Env
	conn    *websocket.Conn
	printer printer
	wait    time.Duration
	timeout time.Duration

	received chan received // from read, by pass; the last one has an error
	asked    chan asked    // from input
	done     chan struct{} // closed when run takes no more of either

	closing  sync.WaitGroup // of close
	ours     *action        // the close that we asked for; nil = none yet
	closeErr error          // what it came to; read after closing
	problem  error          // why we closed, if not for a good reason
}

// received is what has come from the server.
type received struct {
	at    time.Time
	event string // message, ping
	kind  websocket.MessageType
	data  []byte
	err   error // the connection has ended; nothing else is set then
}

// asked is what the user wants of run.
type asked struct {
	action action        // sendPing: it was answered after took
	took   time.Duration // of a ping
	err    error         // the line is wrong, or a ping was not answered
	line   int           // of err, from 1; 0 = none in particular
	end    bool          // there is no more input
}

func (s *session) run(ctx context.Context) error {
	go s.read()  // ends with the connection
	go s.input() // ends with the input or done; a terminal may hold it until the process ends
	ended, err := s.loop(ctx)
	close(s.done)
	if err != nil {
		return err
	}
	return s.verdict(ended)
}

// loop serves the connection until it has ended, for a reason that is the first
// result.
func (s *session) loop(ctx context.Context) (ended, _ error) {
	var silence *time.Timer // runs once all is sent
	var silent <-chan time.Time
	ctxDone := ctx.Done()
	for {
		select {
		case r := <-s.received:
			if r.err != nil {
				return r.err, nil
			}
			if err := s.printer.received(r); err != nil && s.problem == nil {
				s.problem = err
				s.close(action{code: 1000})
			}
			if silence != nil {
				silence.Reset(s.wait)
			}
		case a := <-s.asked:
			switch {
			case a.end && s.env.StdinTerminal:
				s.close(action{code: 1000})
			case a.end && s.wait > 0:
				silence = time.NewTimer(s.wait)
				defer silence.Stop()
				silent = silence.C
			case a.end: // until the server closes
			case a.err != nil && s.env.StdinTerminal:
				fmt.Fprintf(s.env.Stderr, "weir: %v\n", a.err)
			case a.err != nil:
				s.problem = a.err
				if a.line > 0 {
					s.problem = usage("line %d of the input: %w", a.line, a.err)
				}
				s.close(action{code: 1000})
			case a.action.kind == sendPing:
				s.printer.pong(a.took)
			case a.action.kind == sendClose:
				s.close(a.action)
			case a.action.kind == showHelp:
				fmt.Fprint(s.env.Stderr, inputHelp)
			}
		case <-silent:
			s.close(action{code: 1000})
		case <-s.env.Signals:
			if s.ours != nil {
				return nil, errStopped // the server does not answer, and nobody wants to wait
			}
			s.close(action{code: 1000})
		case <-ctxDone:
			ctxDone = nil
			s.close(action{code: 1001})
		}
	}
}

// read passes on what comes, until the connection has ended.
func (s *session) read() {
	for {
		kind, data, err := s.conn.Read(context.Background())
		if err != nil {
			s.conn.CloseNow() // after an error of ours, such as a message that is too long
			s.pass(received{err: err})
			return
		}
		s.pass(received{at: time.Now(), event: "message", kind: kind, data: data})
	}
}

func (s *session) pass(r received) {
	select {
	case s.received <- r:
	case <-s.done:
	}
}

// close starts the closing handshake, once; it takes at most 10 s.
func (s *session) close(a action) {
	if s.ours != nil {
		return
	}
	s.ours = &a
	s.closing.Go(func() { s.closeErr = s.conn.Close(websocket.StatusCode(a.code), a.reason) }) // verdict waits for it
}

// maxInputLine bounds one line of input.
const maxInputLine = 16 << 20

// input does what the lines of standard input say.
func (s *session) input() {
	tell := func(a asked) (goOn bool) {
		select {
		case s.asked <- a:
			return true
		case <-s.done:
			return false
		}
	}
	lines := bufio.NewScanner(s.env.Stdin)
	lines.Buffer(nil, maxInputLine)
	for n := 1; lines.Scan(); n++ {
		a, err := parseInput(lines.Text())
		switch {
		case err != nil:
			if !tell(asked{err: err, line: n}) || !s.env.StdinTerminal {
				return
			}
		case a.kind == sendText:
			err = s.conn.Write(context.Background(), websocket.MessageText, a.data)
		case a.kind == sendBinary:
			err = s.conn.Write(context.Background(), websocket.MessageBinary, a.data)
		case a.kind == sendPing:
			took, pingErr := s.ping()
			if !tell(asked{action: a, took: took, err: pingErr}) {
				return
			}
		case a.kind == showHelp:
			tell(asked{action: a})
		case a.kind == sendClose:
			tell(asked{action: a})
			return
		}
		if a.kind != nothing && err != nil {
			return // read tells how the connection ended
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		tell(asked{err: usage("a line of the input is longer than %s", sizeText(maxInputLine))})
	} else if err != nil {
		tell(asked{err: fmt.Errorf("read the input: %w", err)})
	}
	tell(asked{end: true})
}

func (s *session) ping() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	began := time.Now()
	if err := s.conn.Ping(ctx); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no pong within %v", s.timeout)
		}
		return 0, fmt.Errorf("/ping: %w", err)
	}
	return time.Since(began), nil
}

// verdict tells how the connection ended, and makes an error of an end that
// nobody asked for.
func (s *session) verdict(ended error) error {
	s.closing.Wait()
	code, reason, why := closeOf(ended)
	if why != nil && s.ours != nil {
		// Either the read or the close has seen the answer.
		if s.closeErr == nil {
			code, reason, why = s.ours.code, s.ours.reason, nil
		} else {
			code, reason, why = closeOf(s.closeErr)
		}
	}
	by := "server"
	if s.ours != nil {
		by = "client"
		reason = cmp.Or(reason, s.ours.reason) // servers may answer with the code alone
	}
	s.printer.closed(code, reason, by)
	text := fmt.Sprintf("closed %d (%s)", code, closeName(code))
	if reason != "" {
		text += ": " + printable(reason)
	}
	if s.problem != nil {
		return s.problem
	}
	if s.ours != nil && why == nil || code == 1000 || code == 1005 {
		fmt.Fprintf(s.env.Stderr, "weir: %s\n", text)
		return nil
	}
	if meaning := closeMeanings[code]; meaning != "" {
		text += "; " + meaning
	}
	if why != nil && !errors.Is(why, io.EOF) {
		text += " (" + innermost(why).Error() + ")"
	}
	return errors.New(text)
}

// printer writes what happens on a connection to standard output.
type printer struct {
	out    io.Writer
	start  time.Time // the end of the handshake
	ndjson bool
	indent bool // JSON messages; text form only
}

// connectEvent is one line of -o ndjson; the keys stay as they are.
type connectEvent struct {
	At          float64  `json:"at"`    // seconds since the handshake
	Event       string   `json:"event"` // open, message, ping, pong, close
	URL         string   `json:"url,omitempty"`
	Protocol    string   `json:"protocol,omitempty"`
	HandshakeMS *float64 `json:"handshake_ms,omitempty"`
	Kind        string   `json:"kind,omitempty"` // text, binary
	Bytes       *int     `json:"bytes,omitempty"`
	Text        *string  `json:"text,omitempty"`
	Hex         *string  `json:"hex,omitempty"` // what is no text
	RTTMS       *float64 `json:"rtt_ms,omitempty"`
	Code        int      `json:"code,omitempty"`
	Name        string   `json:"name,omitempty"` // of the code
	Reason      *string  `json:"reason,omitempty"`
	By          string   `json:"by,omitempty"` // client, server: who closed first
}

func (p *printer) line(e connectEvent, at time.Time) error {
	e.At = float64(at.Sub(p.start).Microseconds()) / 1e6
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(e)
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1e3
	return &ms
}

func (p *printer) opened(url, protocol string, took time.Duration) {
	if p.ndjson {
		p.line(connectEvent{Event: "open", URL: url, Protocol: protocol, HandshakeMS: milliseconds(took)}, p.start)
	}
}

func (p *printer) closed(code int, reason, by string) {
	if p.ndjson {
		p.line(connectEvent{Event: "close", Code: code, Name: closeName(code), Reason: &reason, By: by}, time.Now())
	}
}

func (p *printer) pong(took time.Duration) {
	now := time.Now()
	if p.ndjson {
		p.line(connectEvent{Event: "pong", RTTMS: milliseconds(took)}, now)
		return
	}
	fmt.Fprintf(p.out, "%s pong after %s\n", p.offset(now), durationText(took))
}

// received prints one message or ping. Its error is that of the output.
func (p *printer) received(r received) error {
	size := len(r.data)
	kind := r.event
	isText := false
	if r.event == "message" {
		kind = "binary"
		if r.kind == websocket.MessageText {
			kind, isText = "text", true
		}
	}
	if p.ndjson {
		e := connectEvent{Event: r.event, Bytes: &size}
		if r.event == "message" {
			e.Kind = kind
		}
		if text := string(r.data); isText && utf8.ValidString(text) {
			e.Text = &text
		} else {
			text = hex.EncodeToString(r.data)
			e.Hex = &text
		}
		return p.line(e, r.at)
	}
	_, err := fmt.Fprintf(p.out, "%s %-6s %7s%s\n", p.offset(r.at), kind, sizeText(size), p.body(r.data, isText))
	return err
}

func (p *printer) offset(at time.Time) string {
	return fmt.Sprintf("%9s", fmt.Sprintf("+%.3fs", at.Sub(p.start).Seconds()))
}

// maxHexBytes bounds what is shown of a binary message.
const maxHexBytes = 256

// body is a payload for people, with what separates it from the line's head.
func (p *printer) body(data []byte, isText bool) string {
	switch {
	case len(data) == 0:
		return ""
	case !isText:
		shown := fmt.Sprintf("  % x", data[:min(len(data), maxHexBytes)])
		if more := len(data) - maxHexBytes; more > 0 {
			shown += fmt.Sprintf(" … %d more bytes (-o ndjson has all)", more)
		}
		return shown
	}
	if p.indent {
		var b bytes.Buffer
		if json.Indent(&b, data, "", "  ") == nil {
			var text strings.Builder
			for line := range strings.Lines(b.String()) {
				text.WriteString("\n          " + printable(strings.TrimSuffix(line, "\n")))
			}
			return text.String()
		}
	}
	return "  " + printable(string(data))
}
