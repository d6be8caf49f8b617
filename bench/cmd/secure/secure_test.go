package main

import (
	"context"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"weir/bench/internal/proc"
	"weir/bench/peers"
)

func TestTheLoadGetsItsMessagesBack(t *testing.T) {
	pair, err := makePair(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	gorilla, err := peers.Find("gorilla")
	if err != nil {
		t.Fatal(err)
	}
	server, err := gorilla.StartTLS("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	address := server.Addr().String()
	for _, size := range []int{16, 128, 5000} {
		n, elapsed, err := echo(t.Context(), address, pair.pool, options{conns: 3, bytes: size, measure: 10 * time.Millisecond}, &proc.Meter{PID: os.Getpid()})
		if err != nil || elapsed < 10*time.Millisecond {
			t.Errorf("%d bytes: %d messages in %v, %v", size, n, elapsed, err)
		}
	}
	looks := int64(0)
	rested, used, err := rest(context.Background(), address, pair.pool, options{idle: 3, bytes: 16}, func() (int64, error) {
		looks += 10
		return looks, nil
	})
	if err != nil || rested != 10 || used != 20 {
		t.Errorf("rested %d, used %d, %v", rested, used, err)
	}
}

func TestMistakesOfTheCommandLine(t *testing.T) {
	for _, args := range []string{"-conns 0", "-bytes 15", "-bytes 65536", "-rounds 0", "stray"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s is accepted", args)
		}
	}
}
