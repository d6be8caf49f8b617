package cli

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"weir/internal/systemd"
)

func TestWhoTakesASocketThatWasPassed(t *testing.T) {
	web := systemd.Socket{Name: "web", Addr: &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}}
	local := systemd.Socket{Name: "web", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 81}}
	file := systemd.Socket{Name: "file", Addr: &net.UnixAddr{Net: "unix", Name: "/run/weir/s"}}
	metrics := systemd.Socket{Name: "admin", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9100}}
	for _, tc := range []struct {
		name   string
		passed []systemd.Socket
		listen string // separated by spaces
		admin  string
		want   []string
		wrong  string // part of the error
	}{
		{"none was passed: all are bound", nil, ":80 unix:/s", "127.0.0.1:9100", []string{":80", "unix:/s"}, ""},
		{"all of a name, in their order", []systemd.Socket{web, local}, "systemd:web", "", []string{"web ([::]:80)", "web (127.0.0.1:81)"}, ""},
		{"whatever was passed", []systemd.Socket{web, file}, "systemd", "", []string{"web ([::]:80)", "file (/run/weir/s)"}, ""},
		{"what is left", []systemd.Socket{web, file, metrics}, "systemd systemd:file", "systemd:admin", []string{"web ([::]:80)", "file (/run/weir/s)"}, ""},
		{"the same address", []systemd.Socket{web, local, file}, ":80 localhost:81 unix:/run/weir/s :82", "", []string{"web ([::]:80)", "web (127.0.0.1:81)", "file (/run/weir/s)", ":82"}, ""},
		{"the same address of the admin listener", []systemd.Socket{web, metrics}, ":80", "127.0.0.1:9100", []string{"web ([::]:80)"}, ""},
		{"another address is bound, and the socket is left", []systemd.Socket{local}, ":81", "", nil, "nothing takes the socket web (127.0.0.1:81)"},
		{"a name that was not passed", []systemd.Socket{web}, ":80 systemd:wbe", "", nil, "server.listen[1]: no socket systemd:wbe was passed to this process (passed are: web ([::]:80))"},
		{"a name for the admin listener that was not passed", []systemd.Socket{web}, ":80", "systemd:admin", nil, "admin.listen: no socket systemd:admin"},
		{"started by hand", nil, "systemd", "", nil, "server.listen[0]: no socket was passed to this process (passed are: none)"},
		{"the same name twice", []systemd.Socket{web}, "systemd:web systemd:web", "", nil, "server.listen[1]: no socket systemd:web"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i := range tc.passed {
				tc.passed[i].File = os.NewFile(^uintptr(0), tc.passed[i].Name) // nil: no descriptor
			}
			l, err := assign(tc.passed, strings.Fields(tc.listen), tc.admin)
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("error %v, want %q", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l.addresses, tc.want) || (len(l.files) == 0) != (len(tc.passed) == 0) {
				t.Errorf("got %q, want %q", l.addresses, tc.want)
			}
		})
	}
}
