package systemd

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatWasPassed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		environ string // separated by spaces
		want    []string
		wrong   string // part of the error
	}{
		{"nothing", "PATH=/bin", nil, ""},
		{"two sockets and their names", "LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=web:admin", []string{"web", "admin"}, ""},
		{"sockets without names", "LISTEN_PID=7 LISTEN_FDS=2", []string{"unknown", "unknown"}, ""},
		{"fewer names than sockets", "LISTEN_PID=7 LISTEN_FDS=3 LISTEN_FDNAMES=web::", []string{"web", "unknown", "unknown"}, ""},
		{"sockets for another process", "LISTEN_PID=8 LISTEN_FDS=2", nil, ""},
		{"nobody's sockets", "LISTEN_FDS=2", nil, ""},
		{"none", "LISTEN_PID=7 LISTEN_FDS=0", nil, ""},
		{"no number", "LISTEN_PID=7 LISTEN_FDS=two", nil, `LISTEN_FDS is "two"`},
		{"less than none", "LISTEN_PID=7 LISTEN_FDS=-1", nil, "LISTEN_FDS"},
		{"more than a process may have", "LISTEN_PID=7 LISTEN_FDS=999999999", nil, "LISTEN_FDS"},
		{"the last value counts", "LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDS=1", []string{"unknown"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := passed(strings.Fields(tc.environ), 7)
			switch {
			case tc.wrong == "" && err != nil, tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
				t.Errorf("error %v, want %q", err, tc.wrong)
			case !slices.Equal(got, tc.want):
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// FuzzPassed holds that no environment makes more of itself than it should.
func FuzzPassed(f *testing.F) {
	for _, seed := range []string{"", "1", "2\x00web:admin", "-1", "1024", "1025", "1\x00:::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		fds, names, _ := strings.Cut(said, "\x00")
		got, err := passed([]string{"LISTEN_PID=7", "LISTEN_FDS=" + fds, "LISTEN_FDNAMES=" + names}, 7)
		if len(got) > maxSockets || err != nil && got != nil || slices.Contains(got, "") {
			t.Errorf("LISTEN_FDS=%q LISTEN_FDNAMES=%q: %q, %v", fds, names, got, err)
		}
	})
}
