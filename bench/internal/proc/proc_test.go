package proc

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParsersReadWhatLinuxWrites(t *testing.T) {
	stat, err := ParseStat(fixture(t, "stat"))
	if want := (Stat{User: 1230 * time.Millisecond, System: 450 * time.Millisecond, Threads: 7}); err != nil || stat != want {
		t.Errorf("stat: %+v, %v, want %+v", stat, err, want)
	}
	sched, err := ParseSchedstat(fixture(t, "schedstat"))
	if want := (Schedstat{Run: 170642388, Wait: 11872197, Slices: 414}); err != nil || sched != want {
		t.Errorf("schedstat: %+v, %v, want %+v", sched, err, want)
	}
	rss, err := ParseSmapsRollup(fixture(t, "smaps_rollup"))
	if want := int64(1708 << 10); err != nil || rss != want {
		t.Errorf("smaps_rollup: %d, %v, want %d", rss, err, want)
	}
	sw, err := ParseSwitches(fixture(t, "status"))
	if want := (Switches{Voluntary: 1502, Involuntary: 37}); err != nil || sw != want {
		t.Errorf("status: %+v, %v, want %+v", sw, err, want)
	}
	busy, err := ParseBusyTime(fixture(t, "cpu"))
	if want := (108182 + 532 + 40415 + 0 + 11829) * 10 * time.Millisecond; err != nil || busy != want {
		t.Errorf("cpu: %v, %v, want %v", busy, err, want)
	}
	if got := ParseCPUModel(fixture(t, "cpuinfo")); got != "AMD EPYC" {
		t.Errorf("cpuinfo: %q", got)
	}
}

func TestParsersRefuseNonsense(t *testing.T) {
	for _, text := range []string{"", "nonsense", "1 2", "1 (a) b c", "Rss: many kB\n", "Rss: 5 MB\n", "cpu a b c d e f g\n", "voluntary_ctxt_switches: x\n", "x y z"} {
		if v, err := ParseStat([]byte(text)); err == nil {
			t.Errorf("stat %q is %+v", text, v)
		}
		if v, err := ParseSchedstat([]byte(text)); err == nil {
			t.Errorf("schedstat %q is %+v", text, v)
		}
		if v, err := ParseSmapsRollup([]byte(text)); err == nil {
			t.Errorf("smaps_rollup %q is %+v", text, v)
		}
		if v, err := ParseSwitches([]byte(text)); err == nil {
			t.Errorf("status %q is %+v", text, v)
		}
		if v, err := ParseBusyTime([]byte(text)); err == nil {
			t.Errorf("cpu %q is %+v", text, v)
		}
		if v := ParseCPUModel([]byte(text)); v != "unknown CPU" {
			t.Errorf("cpuinfo %q is %q", text, v)
		}
	}
}

// burn uses CPU time until this process's clock has advanced by d.
func burn(t *testing.T, d time.Duration) {
	t.Helper()
	start, err := CPUTime(os.Getpid())
	for now := start; err == nil && now < start+d; {
		now, err = CPUTime(os.Getpid())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheCPUClockAndSchedstatAgree(t *testing.T) {
	m := Meter{PID: os.Getpid()}
	for range 2 {
		if err := m.Begin(); err != nil {
			t.Fatal(err)
		}
		burn(t, 50*time.Millisecond)
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
	}
	u := m.Used()
	if u.CPU < 100*time.Millisecond {
		t.Errorf("used %v, want at least the 100ms that were burnt", u.CPU)
	}
	if d := (u.CPU - u.SchedCPU).Abs(); d > u.CPU/4 {
		t.Errorf("by its clock it used %v, by schedstat %v", u.CPU, u.SchedCPU)
	}
	if u.RSSBegin <= 0 || u.RSSEnd <= 0 || u.Wall < u.CPU/8 {
		t.Errorf("got %+v", u)
	}
}

func TestAProcessThatIsGone(t *testing.T) {
	const nobody = 1<<22 - 1 // almost never given out
	if _, err := CPUTime(nobody); err == nil {
		t.Error("CPUTime: want an error")
	}
	if _, err := CPUTime(0); err == nil {
		t.Error("CPUTime(0): want an error")
	}
	if _, err := CPUTime(1 << 30); err == nil {
		t.Error("CPUTime(1 << 30): want an error")
	}
	if _, err := SchedCPU(nobody); err == nil {
		t.Error("SchedCPU: want an error")
	}
	if _, err := ReadSwitches(nobody); err == nil {
		t.Error("ReadSwitches: want an error")
	}
	m := Meter{PID: nobody}
	if err := m.Begin(); err == nil {
		t.Error("Begin: want an error")
	}
}

func TestUserShare(t *testing.T) {
	if got := (Used{User: 1, System: 3}).UserShare(); got != 0.25 {
		t.Errorf("got %v, want 0.25", got)
	}
	if got := (Used{}).UserShare(); got != 0 {
		t.Errorf("got %v, want 0", got)
	}
}
