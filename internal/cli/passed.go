package cli

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"weir/host"
	"weir/internal/systemd"
	"weir/netpoll"
)

// listens are the sockets of a server: those to bind, and those that were passed to
// the process, by the texts that stand for them.
type listens struct {
	addresses []string              // of server.listen, in order
	files     map[string][]*os.File // passed sockets of addresses that are no addresses; closed by bind
	admin     *os.File              // passed for admin.listen; nil: bind it
}

// passedPrefix begins the address of a socket that is passed: "systemd:NAME" stands
// for each with that name, "systemd" for those that nothing else takes.
const passedPrefix = "systemd"

// passedName takes "systemd:NAME" apart.
func passedName(address string) (name string, ok bool) {
	name, ok = strings.CutPrefix(address, passedPrefix+":")
	return name, ok
}

// assign gives every socket that was passed to the address that asks for it, by its
// name or because it would bind the same. A name without a socket is a mistake, and
// so is a socket that nobody takes: its clients would wait for ever.
func assign(sockets []systemd.Socket, addresses []string, admin string) (*listens, error) {
	l := &listens{files: map[string][]*os.File{}}
	free := slices.Clone(sockets)
	take := func(wanted func(systemd.Socket) bool, most int) (taken []systemd.Socket) {
		for most > 0 {
			i := slices.IndexFunc(free, wanted)
			if i < 0 {
				break
			}
			taken = append(taken, free[i])
			free = slices.Delete(free, i, i+1)
			most--
		}
		return taken
	}
	ask := func(address string, most int) (taken []systemd.Socket, bind bool) {
		if name, ok := passedName(address); ok {
			return take(func(s systemd.Socket) bool { return s.Name == name }, most), false
		}
		return take(func(s systemd.Socket) bool { return binds(address, s.Addr) }, 1), true
	}
	var missing []string
	if admin != "" {
		taken, bind := ask(admin, 1)
		switch {
		case len(taken) > 0:
			l.admin = taken[0].File
		case !bind:
			missing = append(missing, "admin.listen: no socket "+admin)
		}
	}
	asked := make([][]systemd.Socket, len(addresses))
	for i, address := range addresses {
		if address == passedPrefix {
			continue // when the others have theirs
		}
		taken, bind := ask(address, len(free))
		asked[i] = taken
		if len(taken) == 0 && !bind {
			missing = append(missing, fmt.Sprintf("server.listen[%d]: no socket %s", i, address))
		}
	}
	for i, address := range addresses {
		if address == passedPrefix {
			asked[i] = take(func(systemd.Socket) bool { return true }, len(free))
			if len(asked[i]) == 0 {
				missing = append(missing, fmt.Sprintf("server.listen[%d]: no socket", i))
			}
		}
		for _, s := range asked[i] {
			l.addresses = append(l.addresses, s.String())
			l.files[s.String()] = append(l.files[s.String()], s.File)
		}
		if len(asked[i]) == 0 {
			l.addresses = append(l.addresses, address)
		}
	}
	switch {
	case len(missing) > 0:
		return nil, usage("%s was passed to this process (passed are: %s); start weir by its .socket unit, or write an address", strings.Join(missing, "; "), listed(sockets))
	case len(free) > 0:
		return nil, usage("server.listen: nothing takes the socket %s that was passed to this process: its clients would wait for ever; "+
			"write %s:%s, or its address, into server.listen or admin.listen, or take it out of the .socket unit", free[0], passedPrefix, free[0].Name)
	}
	return l, nil
}

func listed(sockets []systemd.Socket) string {
	if len(sockets) == 0 {
		return "none"
	}
	all := make([]string, len(sockets))
	for i, s := range sockets {
		all[i] = s.String()
	}
	return strings.Join(all, ", ")
}

// binds reports whether an address of the configuration means what a socket is bound
// to.
func binds(address string, bound net.Addr) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return bound.Network() == "unix" && bound.String() == path
	}
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return false
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(tcp.Port) {
		return false
	}
	switch ip := net.ParseIP(name); {
	case name == "":
		return tcp.IP.IsUnspecified()
	case ip == nil:
		return name == "localhost" && tcp.IP.IsLoopback()
	default:
		return ip.Equal(tcp.IP)
	}
}

// bind is host.Deps.Bind of a server that listens with o.
func (l *listens) bind(poller *netpoll.Poller, o netpoll.ListenOptions) func(network, address string) (host.Listener, error) {
	return func(network, address string) (host.Listener, error) {
		var ln *netpoll.Listener
		var err error
		if files := l.files[address]; len(files) > 0 {
			l.files[address] = files[1:]
			ln, err = poller.ListenFile(files[0], o)
			_ = files[0].Close() // ln has its own
		} else {
			ln, err = poller.ListenWith(network, address, o)
		}
		if err != nil {
			return nil, err
		}
		return host.Polled(ln), nil
	}
}
