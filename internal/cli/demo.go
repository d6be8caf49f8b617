package cli

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"weir/host"
	"weir/internal/config"
	"weir/runtime"
)

// The demo's handler and page.
//
//go:embed demo/chat.wasm demo/index.html
var demoFiles embed.FS

// demoAddress is bound when nothing else is asked for; when it is taken, any
// free port of loopback.
const demoAddress = "127.0.0.1:8080"

const demoLong = `Serves a chat: the handler and the page are part of this program. Open the printed
address in two tabs and talk to yourself.

Its handler is the WebAssembly module that examples/chat-c builds.`

func newDemo(env *Env) *cobra.Command {
	var (
		listen string
		open   bool
		log    logFlags
	)
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "serve a chat to try in a browser",
		Long:    demoLong,
		GroupID: "start",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			overrides := log.overrides()
			if listen != "" {
				overrides = append(overrides, config.Override{Flag: "--listen", Key: "server.listen", Value: listen})
			}
			c, err := loadConfig(config.Source{Environ: env.Environ, Overrides: overrides})
			if err != nil {
				return err
			}
			if len(c.Server.Listen) == 0 {
				c.Server.Listen = []string{freeAddress(demoAddress)}
			}
			s, err := demoSite(c)
			if err != nil {
				return err
			}
			s.ready = func(urls []string) {
				fmt.Fprintf(env.Stdout, "Open %s/ in two tabs and talk to yourself. Ctrl-C stops it.\n", strings.Join(urls, "/ or "))
				if !open {
					return
				}
				if env.Browse == nil {
					fmt.Fprintln(env.Stderr, "weir: --open: there is no browser here")
				} else if err := env.Browse(urls[0] + "/"); err != nil {
					fmt.Fprintf(env.Stderr, "weir: --open: %v\n", err)
				}
			}
			return run(cmd.Context(), env, s)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&listen, "listen", "l", "", "`ADDRESS` to bind (default "+demoAddress+", or any free port)")
	flags.BoolVar(&open, "open", false, "open the page in a browser")
	log.register(flags)
	return cmd
}

// demoSite is the chat at /chat/{room} and its page at /.
func demoSite(c *config.Config) (*site, error) {
	wasm, err := demoFiles.ReadFile("demo/chat.wasm")
	if err != nil {
		return nil, err
	}
	page, err := demoFiles.ReadFile("demo/index.html")
	if err != nil {
		return nil, err
	}
	c.Routes = []host.Route{{Path: "/chat/{room}", Module: "chat"}}
	return &site{
		config:  *c,
		modules: []host.Module{{Name: "chat", Wasm: wasm, Capabilities: runtime.CapabilityDefault}},
		http:    pageHandler(page),
	}, nil
}

// pageHandler answers GET / with the page and everything else with 404.
func pageHandler(page []byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache") // another version of weir brings another page
		w.Write(page)
	})
	return mux
}

// freeAddress is address, or any free port of its host when it is taken.
func freeAddress(address string) string {
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
		return address
	}
	name, _, splitErr := net.SplitHostPort(address)
	if splitErr != nil || !errors.Is(err, syscall.EADDRINUSE) {
		return address // binding it again will say what is wrong
	}
	return net.JoinHostPort(name, "0")
}
