package host

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/pool"
)

// reconfigured are the options of a lab, changed.
func reconfigured(t *testing.T, s *Server, change func(*Options)) error {
	t.Helper()
	o := s.opts().Options
	change(&o)
	return s.Reconfigure(o)
}

func TestReconfigure(t *testing.T) {
	t.Run("a limit holds for connections that are open", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		long := "echo " + strings.Repeat("x", 2000)
		c, other := l.connect("/"), l.connect("/")
		c.ask(long)
		check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.MaxMessageSize, o.WebSocket.MaxFrameSize = 1000, 0 }))
		if got := c.ask("echo short"); got != "short" {
			t.Errorf("a short message was answered with %q", got)
		}
		c.say(long)
		l.settle()
		c.wantEnd(codeTooBig)
		check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.MaxMessageSize, o.WebSocket.MaxFrameSize = 0, 0 }))
		other.ask(long)
	})
	t.Run("a shorter interval is not slept through", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.WebSocket.PingInterval, s.opts.WebSocket.IdleTimeout = time.Hour, 2*time.Hour })
		defer l.close()
		c := l.connect("/")
		l.pass(time.Minute)
		check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.PingInterval, o.WebSocket.IdleTimeout = 90*time.Second, 2*time.Minute }))
		l.settle()
		if c.listen(); c.pings != 0 {
			t.Error("pinged at once")
		}
		l.pass(31 * time.Second)
		if c.listen(); c.pings != 1 {
			t.Errorf("%d pings after 91s, want 1", c.pings)
		}
	})
	t.Run("routes and bounds hold for those who come later", func(t *testing.T) {
		l := newLab(t, func(s *setup) {
			s.opts.Routes = []Route{{Path: "/old/{room}", Module: "puppet"}, {Path: "/both", Module: "puppet"}}
		})
		defer l.close()
		old, both := l.connect("/old/attic"), l.connect("/both")
		kept := l.srv.opts().routes[1]
		check(t, reconfigured(t, l.srv, func(o *Options) {
			o.Routes = []Route{{Path: "/both", Module: "puppet"}, {Path: "/new", Module: "puppet"}}
			o.Server.MaxConnections = 3
		}))
		if l.srv.opts().routes[0] != kept {
			t.Error("a route that stays is another one")
		}
		if got := old.ask("attr param:room"); !strings.Contains(got, "attic") {
			t.Errorf("a connection of a route that has gone says its room is %q", got)
		}
		both.ask("echo works")
		gone := l.knock()
		gone.write(strings.Replace(upgradeHead, " / ", " /old/attic ", 1))
		l.settle()
		checkRefusal(t, string(gone.take()), 404)
		gone.hangUp()
		l.settle()
		l.connect("/new").ask("echo works")
		refused := l.knock()
		l.settle()
		checkRefusal(t, string(refused.take()), 503)
	})
	t.Run("origins hold for the next request", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		visit := func() string {
			c := l.knock()
			c.write(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nOrigin: https://page.example\r\n\r\n", 1))
			l.settle()
			return string(c.take())
		}
		checkRefusal(t, visit(), 403)
		check(t, reconfigured(t, l.srv, func(o *Options) { o.Server.AllowedOrigins = []string{"https://page.example"} }))
		if got := visit(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Errorf("answered %q", got)
		}
	})
	t.Run("what cannot change stays", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		was := l.srv.opts().Server
		check(t, reconfigured(t, l.srv, func(o *Options) { o.Server.Listen, o.Server.MaxHeaderSize = []string{":1"}, 300 }))
		if now := l.srv.opts().Server; now.Listen[0] != was.Listen[0] || now.MaxHeaderSize != was.MaxHeaderSize {
			t.Errorf("it is %+v", now)
		}
	})
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"a value out of range":     {func(o *Options) { o.Server.MaxHeaders = 1000 }, "server.max_headers: "},
		"a module that is missing": {func(o *Options) { o.Routes = []Route{{Path: "/", Module: "nobody"}} }, `routes[0].module: no module "nobody"`},
		"a folder that is missing": {func(o *Options) { o.Routes = append(o.Routes[:1:1], Route{Path: "/x", Static: "no/such/folder"}) }, "routes[1].static: "},
		"another scope":            {func(o *Options) { o.Routes = []Route{{Path: "/", Module: "puppet", Scope: scopeSingleton}} }, "routes: whether module"},
	} {
		t.Run("an error changes nothing: "+name, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			c := l.connect("/")
			was := l.srv.opts()
			err := reconfigured(t, l.srv, func(o *Options) {
				o.WebSocket.MaxMessageSize = 10
				tc.change(o)
			})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %s…", err, tc.want)
			}
			if l.srv.opts() != was {
				t.Error("the options are others")
			}
			c.ask("echo " + strings.Repeat("x", 100))
		})
	}
}

func TestPagesFollowTheRoutes(t *testing.T) {
	folder := t.TempDir()
	check(t, os.WriteFile(filepath.Join(folder, "a.txt"), []byte("hello"), 0o600))
	w := start(t)
	get := func() int {
		resp, err := http.Get("http://" + w.addr + "/files/a.txt")
		check(t, err)
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode
	}
	if status := get(); status != http.StatusUpgradeRequired {
		t.Errorf("before: %d", status)
	}
	check(t, reconfigured(t, w.srv, func(o *Options) { o.Routes = append(o.Routes[:1:1], Route{Path: "/files", Static: folder}) }))
	if status := get(); status != 200 {
		t.Errorf("after: %d", status)
	}
}

// Every message is under one of the two configurations, whenever they change.
func TestReconfigureWhileMessagesFlow(t *testing.T) {
	l := newLab(t)
	defer l.close()
	var clients []*labClient
	for range 8 {
		clients = append(clients, l.connect("/"))
	}
	stop := l.threads(pool.Options{Workers: 4})
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for n := range 200 {
				err := reconfigured(t, l.srv, func(o *Options) {
					o.WebSocket.PingInterval = time.Duration(10+n+i) * time.Second
					o.Handler.Inline = []string{inlineAuto, inlineNever}[n%2]
					o.Routes = append(o.Routes[:1:1], Route{Path: fmt.Sprintf("/r%d", n), Module: "puppet"})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, c := range clients {
		wg.Go(func() {
			for range 200 {
				c.say("echo x")
				c.tell()
			}
		})
	}
	wg.Wait()
	stop()
	l.srv.exec = l.tasks
	l.settle()
	for _, c := range clients {
		if n := len(c.texts()); n != 200 {
			t.Errorf("%v heard %d answers, want 200", c.addr, n)
		}
	}
}
