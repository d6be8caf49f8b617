//go:build unix

package chaos

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// T-042: one in ten of a topic's readers stops reading. The others get everything, no later.
func TestSomeOfManySubscribersStopReading(t *testing.T) {
	needBinary(t)
	const good, slow, each = 900, 100, 40
	s := operated(t, puppetSite(t, unhurried, patiently+"websocket: {outbound_queue_size: 16MiB, write_timeout: 3s, close_timeout: 1s}\n"))
	var heard atomic.Int64
	var readers sync.WaitGroup
	padding := strings.Repeat("x", 8<<10)
	open := make([]*client, good)
	for i := range open {
		c, err := dial(s.address(), "/puppet?open=join+news")
		if err != nil {
			t.Fatal(err)
		}
		open[i] = c
		t.Cleanup(c.drop)
		readers.Go(func() { // ends with the last message, or its connection
			for n := range 2 * each {
				op, text, err := c.next()
				if want := fmt.Sprint(n, " "); err != nil || op != opText || !strings.HasPrefix(text, want) {
					t.Errorf("reader %d: message %d is %.20q, %v", i, n, text, err)
					return
				}
				heard.Add(1)
			}
		})
	}
	publisher := puppet(t, s)
	var most float64 // bytes that waited
	publish := func(from int) (took samples) {
		for n := from; n < from+each; n++ {
			sent := time.Now()
			if got, err := publisher.answer(fmt.Sprintf("publish news %d %s;echo done", n, padding)); err != nil || got != "done" {
				t.Fatalf("heard %.20q, %v", got, err)
			}
			for heard.Load() < int64(good*(n+1)) && time.Since(sent) < 4*patience {
				time.Sleep(100 * time.Microsecond)
			}
			took = append(took, time.Since(sent))
			most = max(most, s.metric(t, "weir_outbound_bytes"))
		}
		return took
	}
	without := publish(0)
	stalls := make([]*client, slow)
	for i := range stalls {
		var err error
		if stalls[i], err = narrow(s.address(), "/puppet?open=join+news"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stalls[i].drop)
	}
	if !eventually(func() bool { return s.topics(t)["news"] == good+slow }) {
		t.Fatalf("the topic has %d members", s.topics(t)["news"])
	}
	for _, c := range stalls {
		for range 7 { // more than the kernel takes, so that what is published waits behind it
			if err := c.script(strings.Repeat("blob 60000;", 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	with := publish(each)
	readers.Wait()
	closed := func() bool { return s.metric(t, "weir_slow_consumers_total") == slow }
	if !inTheEnd(closed) {
		t.Errorf("%v slow readers were closed, want %d\n%s", s.metric(t, "weir_slow_consumers_total"), slow, s.said())
	}
	if most == 0 {
		t.Error("nothing waited for anybody: this tested less than it should")
	}
	tell(t, "T-042", "100 of a topic's 1,000 readers stop reading", "the other 900 heard all %d messages, and every slow one was closed after write_timeout (3s); at most %.1f MiB waited; until the last reader had a message: p50 %s ms, p99 %s ms, and without them %s and %s",
		2*each, most/(1<<20), ms(with.quantile(.5)), ms(with.quantile(.99)), ms(without.quantile(.5)), ms(without.quantile(.99)))
	for _, c := range open {
		c.drop()
	}
	publisher.drop()
	s.noTopics(t)
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// T-044: a reader takes one byte a second, so that it never stands quite still.
func TestAReaderThatTricklesIsCut(t *testing.T) {
	needBinary(t)
	const writeTimeout, closeTimeout = 2 * time.Second, time.Second
	s := started(t, puppetSite(t, unhurried, patiently+fmt.Sprintf("websocket: {write_timeout: %v, close_timeout: %v, outbound_queue_size: 16MiB}\n", writeTimeout, closeTimeout)))
	c, err := narrow(s.address(), "/puppet")
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	asked := time.Now()
	for range 10 { // 6 MB: more than the kernel takes
		if err := c.script(strings.Repeat("blob 60000;", 10)); err != nil {
			t.Fatal(err)
		}
	}
	over := make(chan int, 1)
	stop := make(chan struct{})
	go func() { // ends with stop
		taken := 0
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-stop:
				over <- taken
				return
			case <-every.C:
				if _, err := io.ReadFull(c.conn, make([]byte, 1)); err == nil {
					taken++
				}
			}
		}
	}()
	cut := inTheEnd(func() bool { return s.metric(t, `weir_connections_ended_total{cause="slow_consumer"}`) == 1 })
	took := time.Since(asked)
	close(stop)
	taken := <-over
	if !cut {
		t.Errorf("after %v the reader is not cut", took)
	}
	if taken == 0 {
		t.Error("it took nothing: this tested a reader that stands still")
	}
	if !eventually(func() bool { return s.metric(t, "weir_outbound_bytes") == 0 }) {
		t.Errorf("%v bytes wait for nobody", s.metric(t, "weir_outbound_bytes"))
	}
	tell(t, "T-044", "a reader takes one byte a second of 6 MB; write_timeout is 2s", "cut as a slow consumer and gone after %v, of which up to 1s (close_timeout) is for its farewell; it had taken %d bytes", took.Round(10*time.Millisecond), taken)
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// T-065: eight loops want the processors, too. Nobody is taken for slow, and a drain keeps its deadline.
func TestAStarvedServerDrainsInTime(t *testing.T) {
	needBinary(t)
	const drainTimeout = 8 * time.Second
	s := started(t, puppetSite(t, unhurried, patiently+fmt.Sprintf("drain: {spread: 500ms, timeout: %v}\n", drainTimeout)))
	const hogs, members, each = 8, 100, 30
	for range hogs {
		hog := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := hog.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = hog.Process.Kill()
			_ = hog.Wait()
		})
	}
	var readers sync.WaitGroup
	var farewells atomic.Int64
	for i := range members {
		c, err := dial(s.address(), "/puppet?open=join+news")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.drop)
		readers.Go(func() { // ends with the Close frame
			for n := 0; ; n++ {
				op, text, err := c.next()
				switch {
				case err != nil:
					t.Errorf("reader %d, after %d messages: %v", i, n, err)
					return
				case op == opClose && n >= each:
					if closeCode(text) == 1001 {
						farewells.Add(1)
					}
					_ = c.send(opClose, text)
					return
				case op == opClose:
					t.Errorf("reader %d is closed with %d after %d messages", i, closeCode(text), n)
					return
				}
			}
		})
	}
	publisher := puppet(t, s)
	padding := strings.Repeat("x", 16<<10)
	begun := time.Now()
	for n := range each {
		if got, err := publisher.answer(fmt.Sprintf("publish news %d %s;echo done", n, padding)); err != nil || got != "done" {
			t.Fatalf("heard %.20q, %v", got, err)
		}
	}
	published := time.Since(begun)
	publisher.drop()
	if n := s.metric(t, "weir_slow_consumers_total"); n != 0 {
		t.Errorf("%v readers are taken for slow ones", n)
	}
	begun = time.Now()
	s.signal(t, syscall.SIGTERM)
	code := s.ended(t, drainTimeout+patience)
	drained := time.Since(begun)
	if code != 0 || drained > drainTimeout+2*time.Second {
		t.Errorf("exit code %d after %v\n%s", code, drained, s.said())
	}
	readers.Wait()
	if n := farewells.Load(); n != members {
		t.Errorf("%d of %d readers were closed with 1001", n, members)
	}
	tell(t, "T-065", "8 busy loops beside a server with 100 readers", "30 publishes of 16 KiB went out within %v; nobody was taken for a slow reader; the drain took %v, with 1001 for everybody and exit code 0",
		published.Round(time.Millisecond), drained.Round(time.Millisecond))
}

// inTheEnd is eventually for what takes some seconds even when all goes well.
func inTheEnd(f func() bool) bool {
	return slices.ContainsFunc([]func() bool{f, f, f}, eventually)
}
