// Command stall publishes on a topic at a steady rate, twice to subscribers that all read, then while some of them have
// stopped reading, and looks at what the others notice: whether each hears every message in order, and whether the
// publisher is answered later than before. By how much the first two parts differ says what a difference means.
//
//	stall -weir ../weir
//	stall -weir ../weir -subscribers 2000 -stalled 200 -for 10s -policy conflate
//
// It ends with status 1 when a subscriber that reads has missed a message. Whether the bars are reached it reports.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
	"weir/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "stall:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	weir, guest, policy  string
	subscribers, stalled int
	rate, size, procs    int
	time                 time.Duration
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("stall", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "../weir", "the weir binary")
	f.StringVar(&o.guest, "guest", "../host/testdata/puppet.wasm", "a module that does what texts tell it")
	f.StringVar(&o.policy, "policy", "disconnect", "the topic's when_slow: disconnect, drop_oldest or conflate")
	f.IntVar(&o.subscribers, "subscribers", 9000, "subscribers that read")
	f.IntVar(&o.stalled, "stalled", 1000, "subscribers that stop reading")
	f.IntVar(&o.rate, "rate", 5, "messages a second")
	f.IntVar(&o.size, "size", 1024, "bytes a message")
	f.IntVar(&o.procs, "procs", goruntime.NumCPU(), "GOMAXPROCS of the server")
	f.DurationVar(&o.time, "for", 30*time.Second, "length of each of the three parts")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.subscribers < 1 || o.stalled < 0 || o.rate < 1 || o.size < 32 || o.time <= 0 {
		return o, errors.New("usage: stall [flags]; numbers are above 0, a message has 32 bytes or more")
	}
	return o, nil
}

// crowd is all clients.
type crowd struct {
	address string
	said    atomic.Int64  // number of the latest message
	heard   atomic.Int64  // messages, by all that read
	missed  atomic.Int64  // times that a message was not the next
	stop    chan struct{} // closed when the stalled stop reading
	readers sync.WaitGroup
	mu      sync.Mutex // below
	conns   []*websocket.Conn
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-stall-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config, err := writeConfig(dir, o)
	if err != nil {
		return err
	}
	server, err := child.Start(ctx, o.procs, o.weir, func(address string) []string {
		return []string{"serve", "--config", config, "--listen", address}
	})
	if err != nil {
		return err
	}
	defer server.Stop()
	c := &crowd{address: server.Address, stop: make(chan struct{})}
	defer c.close()
	if err := c.gather(o); err != nil {
		return err
	}
	publisher, err := c.dial("/puppet")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d subscribers, %d of them stop reading; %d messages of %d B a second for %v each; when_slow %s\n\n",
		o.subscribers+o.stalled, o.stalled, o.rate, o.size, o.time, o.policy)
	var p99 [3]time.Duration
	kept := true // the rate was
	for part, name := range []string{"all read", "again", "some stalled"} {
		if part == 2 {
			close(c.stop)
		}
		var answered load.Hist
		before := c.heard.Load()
		sent, err := c.publish(ctx, publisher, o, &answered)
		if err != nil {
			return err
		}
		due := int64(sent) * int64(o.subscribers)
		for limit := time.Now().Add(10 * time.Second); c.heard.Load()-before < due && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
		}
		rss, err := proc.RSS(server.PID())
		if err != nil {
			return err
		}
		p99[part] = answered.Quantile(.99)
		kept = kept && float64(sent) >= keptShare*o.time.Seconds()*float64(o.rate)
		fmt.Fprintf(out, "%-13s %d published; heard at least %d of %d by those that read; publisher answered p50 %v, p99 %v; %d MiB resident\n",
			name, sent, min(c.heard.Load()-before, due), due, answered.Quantile(.5), p99[part], rss>>20)
	}
	fmt.Fprintf(out, "\npublisher p99 changed by %+.0f %% (bar: below 20 %%), by itself by %+.0f %%; messages missed by readers: %d (bar: 0)\n",
		change(p99[1], p99[2]), change(p99[0], p99[1]), c.missed.Load())
	if !kept {
		fmt.Fprintln(out, "The rate was not kept: the machine had more to deliver than it can, and the publisher's p99 tells how much, not who stalled.")
	}
	if n := c.missed.Load(); n > 0 {
		return fmt.Errorf("%d messages were missed", n)
	}
	return nil
}

// keptShare is the share of the messages due that must have been published for the rate to count as kept.
const keptShare = 0.9

// change is by how many per cent a time has changed.
func change(from, to time.Duration) float64 { return 100 * (float64(to)/float64(max(from, 1)) - 1) }

func writeConfig(dir string, o options) (string, error) {
	guest, err := filepath.Abs(o.guest)
	if err != nil {
		return "", err
	}
	type object = map[string]any
	text, err := json.MarshalIndent(object{ // which is YAML, too
		"modules": object{"puppet": object{
			"path": guest, "capabilities": []string{"topics", "timers"},
			"topics": []object{{"pattern": "news", "when_slow": o.policy}},
		}},
		"routes":  []object{{"path": "/puppet", "module": "puppet"}},
		"runtime": object{"cache_dir": filepath.Join(dir, "cache")},
		"log":     object{"level": "warn"},
	}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "weir.yaml")
	return file, os.WriteFile(file, text, 0o644)
}

func (c *crowd) dial(path string) (*websocket.Conn, error) {
	d := websocket.Dialer{
		ReadBufferSize: 512, WriteBufferSize: 512, HandshakeTimeout: 30 * time.Second,
		NetDial: func(network, address string) (net.Conn, error) {
			conn, err := net.DialTimeout(network, address, 30*time.Second)
			if err == nil {
				// A stalled client's share of what the kernels keep; enough for one that reads.
				err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
			}
			return conn, err
		},
	}
	ws, _, err := d.Dial("ws://"+c.address+path, nil)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.conns = append(c.conns, ws)
	c.mu.Unlock()
	return ws, nil
}

// gather connects the subscribers, 64 at a time.
func (c *crowd) gather(o options) error {
	var dialers sync.WaitGroup
	turn := make(chan int)
	failed := make(chan error, 64)
	for range cap(failed) {
		dialers.Go(func() {
			for i := range turn {
				ws, err := c.dial("/puppet?open=join+news;echo+joined")
				if err == nil {
					_, _, err = ws.ReadMessage() // it is a member now
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
					continue
				}
				c.readers.Go(func() { c.read(ws, i < o.stalled) }) // ends when ws is closed
			}
		})
	}
	for i := range o.subscribers + o.stalled {
		turn <- i
	}
	close(turn)
	dialers.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("connect: %w", err)
	default:
		return nil
	}
}

// read hears messages and holds their numbers against each other. One that stalls does so when it is told.
func (c *crowd) read(ws *websocket.Conn, stalls bool) {
	last := int64(0)
	for {
		_, p, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if stalls {
			select {
			case <-c.stop:
				return // open, and never read again
			default:
				continue
			}
		}
		digits, _, _ := bytes.Cut(p, []byte(" "))
		number, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil || number != last+1 {
			c.missed.Add(1)
		}
		last = number
		c.heard.Add(1)
	}
}

// publish does so at the rate, and records how long it takes until each is answered.
func (c *crowd) publish(ctx context.Context, ws *websocket.Conn, o options, answered *load.Hist) (sent int, err error) {
	padding := strings.Repeat("x", o.size-12)
	every := time.NewTicker(time.Second / time.Duration(o.rate))
	defer every.Stop()
	for end := time.Now().Add(o.time); time.Now().Before(end); sent++ {
		select {
		case <-every.C:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
		begun := time.Now()
		text := fmt.Sprintf("publish news %d %s;echo done", c.said.Add(1), padding)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return sent, err
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			return sent, err
		}
		answered.Record(time.Since(begun))
	}
	return sent, nil
}

func (c *crowd) close() {
	c.mu.Lock()
	for _, ws := range c.conns {
		ws.Close()
	}
	c.mu.Unlock()
	c.readers.Wait()
}
