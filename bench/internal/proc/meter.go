package proc

import (
	"os"
	"time"
)

// Meter measures what a process uses between Begin and End. It adds up when they
// are called again.
type Meter struct {
	PID int

	begin, end sample
	used       Used
	begun      bool
}

// sample is one look at a process.
type sample struct {
	cpu      time.Duration
	sched    time.Duration
	stat     Stat
	switches Switches
	rss      int64
	at       time.Time
	self     time.Duration // CPU time of this process
	busy     time.Duration // of all CPUs
}

// Used is what a process used.
type Used struct {
	CPU      time.Duration // by the CPU clock
	SchedCPU time.Duration // the same by schedstat, to check with
	User     time.Duration // in steps of 10 ms
	System   time.Duration // in steps of 10 ms
	Switches uint64        // context switches of both kinds
	RSSBegin int64         // bytes
	RSSEnd   int64         // bytes
	Wall     time.Duration // between Begin and End
	Others   time.Duration // CPU time that neither the process nor this one used; in steps of 10 ms
}

// UserShare is the part of the CPU time spent in user mode, 0 to 1.
func (u Used) UserShare() float64 {
	if u.User+u.System == 0 {
		return 0
	}
	return float64(u.User) / float64(u.User+u.System)
}

// Begin takes the first look, the CPU clock last.
func (m *Meter) Begin() error {
	if err := m.begin.slow(m.PID); err != nil {
		return err
	}
	return m.begin.clock(m.PID)
}

// End takes the second look, the CPU clock first, and adds the difference.
func (m *Meter) End() error {
	if err := m.end.clock(m.PID); err != nil {
		return err
	}
	if err := m.end.slow(m.PID); err != nil {
		return err
	}
	a, b := &m.begin, &m.end
	u := &m.used
	u.CPU += b.cpu - a.cpu
	u.SchedCPU += b.sched - a.sched
	u.User += b.stat.User - a.stat.User
	u.System += b.stat.System - a.stat.System
	u.Switches += b.switches.Voluntary + b.switches.Involuntary - a.switches.Voluntary - a.switches.Involuntary
	if !m.begun {
		m.begun, u.RSSBegin = true, a.rss
	}
	u.RSSEnd = b.rss
	u.Wall += b.at.Sub(a.at)
	u.Others += (b.busy - a.busy) - (b.cpu - a.cpu) - (b.self - a.self)
	return nil
}

// Used is the sum of the differences so far; memory is that of the first Begin
// and the last End.
func (m *Meter) Used() Used { return m.used }

// clock reads what must be read at one moment.
func (s *sample) clock(pid int) (err error) {
	if s.cpu, err = CPUTime(pid); err != nil {
		return err
	}
	s.at = time.Now()
	if s.self, err = CPUTime(os.Getpid()); err != nil {
		return err
	}
	if s.busy, err = BusyTime(); err != nil {
		return err
	}
	s.sched, err = SchedCPU(pid)
	return err
}

// slow reads the rest, which takes a millisecond.
func (s *sample) slow(pid int) (err error) {
	if s.stat, err = ReadStat(pid); err != nil {
		return err
	}
	if s.switches, err = ReadSwitches(pid); err != nil {
		return err
	}
	s.rss, err = RSS(pid)
	return err
}
