// Command peer serves one of the servers that weir is compared with, until it
// gets SIGINT or SIGTERM. It prints one line, "NAME listening on ADDR", when it
// is ready.
//
//	peer NAME --listen 127.0.0.1:9000
//	peer gorilla --listen 127.0.0.1:9000 --cert cert.pem --key key.pem
//	peer list
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"syscall"

	"weir/bench/peers"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "peer:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	pprof := flags.String("pprof", "", "address for net/http/pprof; empty means none")
	cert := flags.String("cert", "", "file of a certificate, to speak TLS; with -key")
	key := flags.String("key", "", "file of its key")
	if len(args) == 0 {
		return errors.New("usage: peer NAME --listen ADDR, or peer list")
	}
	if args[0] == "list" {
		for _, p := range peers.All() {
			fmt.Fprintf(out, "%-18s %s\n", p.Name, p.About)
		}
		return nil
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	p, err := peers.Find(args[0])
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1) // one is enough to stop
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if *pprof != "" {
		go func() { fmt.Fprintln(os.Stderr, "peer: pprof:", http.ListenAndServe(*pprof, nil)) }() // ends with the process
	}
	s, err := start(p, *listen, *cert, *key)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s listening on %s\n", p.Name, s.Addr())
	<-stop
	return s.Close()
}

// start starts p, with TLS if there is a certificate.
func start(p peers.Peer, listen, cert, key string) (peers.Server, error) {
	if cert == "" {
		return p.Start(listen)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return p.StartTLS(listen, &tls.Config{Certificates: []tls.Certificate{pair}})
}
