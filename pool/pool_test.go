package pool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// taskFunc is a task of one function.
type taskFunc func() bool

func (f taskFunc) Run() bool { return f() }

// once is a task of one turn.
func once(f func()) Task { return taskFunc(func() bool { f(); return false }) }

func mustSubmit(t *testing.T, p *Pool, task Task) {
	t.Helper()
	if !p.Submit(task) {
		t.Fatal("Submit = false")
	}
}

func mustClose(t *testing.T, p *Pool) {
	t.Helper()
	if err := p.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Workers != 0 || s.Busy != 0 || s.Queued != 0 {
		t.Errorf("after Close: %+v", s)
	}
}

func TestTasksRunInOrder(t *testing.T) {
	p := New(Options{Workers: 1})
	var order []string
	task := func(name string, turns int) Task {
		return taskFunc(func() bool {
			order = append(order, name)
			turns--
			return turns > 0
		})
	}
	// The first task holds the only worker until the others are queued.
	started, gate := make(chan struct{}), make(chan struct{})
	mustSubmit(t, p, once(func() { close(started); <-gate }))
	<-started
	mustSubmit(t, p, task("a", 3))
	mustSubmit(t, p, task("b", 1))
	mustSubmit(t, p, task("c", 2))
	close(gate)
	mustClose(t, p)
	if got, want := strings.Join(order, " "), "a b c a c a"; got != want {
		t.Errorf("turns ran as %q, want %q", got, want)
	}
	s := p.Stats()
	if s.Submitted != 4 || s.Done != 7 || s.Requeued != 3 || s.QueuedMax != 3 {
		t.Errorf("stats: %+v", s)
	}
}

func TestWorkers(t *testing.T) {
	t.Run("a pool without work has none", func(t *testing.T) {
		p := New(Options{})
		if s := p.Stats(); s.Workers != 0 || s.MaxWorkers < minAutoWorkers {
			t.Errorf("stats: %+v", s)
		}
		mustClose(t, p)
	})

	t.Run("tasks that wait for each other all get one", func(t *testing.T) {
		const n = 16
		p := New(Options{Workers: n})
		for range 50 {
			var together, done sync.WaitGroup
			together.Add(n)
			done.Add(n)
			for range n { // hangs if a wake-up is lost on the way from one worker to the next
				mustSubmit(t, p, once(func() { together.Done(); together.Wait(); done.Done() }))
			}
			done.Wait()
		}
		mustClose(t, p)
	})

	t.Run("there are never more than allowed", func(t *testing.T) {
		const workers = 3
		p := New(Options{Workers: workers})
		var now, most atomic.Int32
		for range 500 {
			mustSubmit(t, p, once(func() {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
			}))
		}
		if s := p.Stats(); s.Workers > workers || s.Busy > workers {
			t.Errorf("stats: %+v", s)
		}
		mustClose(t, p)
		if n := most.Load(); n < 1 || n > workers {
			t.Errorf("%d tasks ran at the same time", n)
		}
	})

	t.Run("one slow task does not hold up the others", func(t *testing.T) {
		p := New(Options{Workers: 2})
		gate := make(chan struct{})
		mustSubmit(t, p, once(func() { <-gate }))
		for range 100 {
			done := make(chan struct{})
			mustSubmit(t, p, once(func() { close(done) }))
			<-done
		}
		close(gate)
		mustClose(t, p)
	})

	t.Run("who fell asleep last is woken first, and alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const n = 4
			p := New(Options{Workers: n})
			var together sync.WaitGroup
			together.Add(n)
			for range n {
				mustSubmit(t, p, once(func() { together.Done(); together.Wait() }))
			}
			synctest.Wait()
			top := func() *worker { p.mu.Lock(); defer p.mu.Unlock(); return p.idle }
			last, wakes := top(), p.Stats().Wakes
			for range 10 {
				mustSubmit(t, p, once(func() {}))
				synctest.Wait()
				if got := top(); got != last {
					t.Error("another worker ran the task")
				}
			}
			if got := p.Stats().Wakes - wakes; got != 10 {
				t.Errorf("10 tasks, one after another, woke %d workers", got)
			}
			mustClose(t, p)
		})
	})

	t.Run("a task that goes on wakes nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := New(Options{Workers: 4})
			turns := 1000
			mustSubmit(t, p, taskFunc(func() bool { turns--; return turns > 0 }))
			synctest.Wait()
			if s := p.Stats(); s.Workers != 1 || s.Wakes != 0 || s.Done != 1000 {
				t.Errorf("stats: %+v", s)
			}
			mustClose(t, p)
		})
	})

	t.Run("tasks may submit tasks", func(t *testing.T) {
		p := New(Options{Workers: 2})
		var ran atomic.Int32
		done := make(chan struct{})
		var grow func(depth int) Task
		grow = func(depth int) Task {
			return once(func() {
				if depth > 0 {
					p.Submit(grow(depth - 1))
					p.Submit(grow(depth - 1))
				}
				if ran.Add(1) == 1<<9-1 {
					close(done)
				}
			})
		}
		mustSubmit(t, p, grow(8))
		<-done
		mustClose(t, p)
	})
}

func TestOverloaded(t *testing.T) {
	for _, tc := range []struct {
		name          string
		high, on, off int
	}{
		{"by default above 1024, until below 512", 0, 1025, 511},
		{"above 10, until below 5", 10, 11, 4},
		{"above 5, until below half of it", 5, 6, 2},
		{"above 1, until empty", 1, 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Options{Workers: 1, QueueHigh: tc.high})
			var off []int // tasks behind those that saw Overloaded
			step := make(chan struct{})
			started := make(chan struct{})
			mustSubmit(t, p, once(func() { close(started); <-step }))
			<-started
			n := 0
			for ; !p.Overloaded(); n++ {
				mustSubmit(t, p, once(func() {
					if !p.Overloaded() {
						off = append(off, p.Stats().Queued)
					}
				}))
			}
			if n != tc.on {
				t.Errorf("overloaded with %d queued tasks, want %d", n, tc.on)
			}
			if s := p.Stats(); s.Overloads != 1 || s.Queued != tc.on {
				t.Errorf("stats: %+v", s)
			}
			close(step)
			mustClose(t, p)
			want := make([]int, 0, tc.off+1)
			for k := tc.off; k >= 0; k-- {
				want = append(want, k)
			}
			if !slices.Equal(off, want) {
				t.Errorf("not overloaded with %v queued tasks, want %v", off, want)
			}
		})
	}
}

func TestClose(t *testing.T) {
	t.Run("queued tasks run to their end, new ones are refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := New(Options{Workers: 2})
			gate := make(chan struct{})
			turns := 0
			mustSubmit(t, p, once(func() { <-gate }))
			mustSubmit(t, p, once(func() { <-gate }))
			mustSubmit(t, p, taskFunc(func() bool { turns++; return turns < 5 }))
			closed := make(chan error, 1)
			go func() { closed <- p.Close(context.Background()) }()
			synctest.Wait()
			if p.Submit(once(func() { t.Error("a refused task ran") })) {
				t.Error("Submit = true after Close began")
			}
			close(gate)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if turns != 5 {
				t.Errorf("%d turns, want 5", turns)
			}
			if s := p.Stats(); s.Refused != 1 {
				t.Errorf("stats: %+v", s)
			}
		})
	})

	t.Run("it gives up with its context and may be called again", func(t *testing.T) {
		p := New(Options{Workers: 1})
		gate := make(chan struct{})
		ran := false
		started := make(chan struct{})
		mustSubmit(t, p, once(func() { close(started); <-gate }))
		<-started
		mustSubmit(t, p, once(func() { ran = true }))
		ctx, cancel := context.WithCancelCause(context.Background())
		reason := errors.New("had enough")
		cancel(reason)
		if err := p.Close(ctx); !errors.Is(err, reason) || !strings.Contains(err.Error(), "1 tasks queued and 1 running") {
			t.Errorf("Close = %v", err)
		}
		close(gate)
		mustClose(t, p)
		if !ran {
			t.Error("the queued task did not run")
		}
	})

	t.Run("sleeping workers end, twice is once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := New(Options{Workers: 8})
			var together sync.WaitGroup
			together.Add(8)
			for range 8 {
				mustSubmit(t, p, once(func() { together.Done(); together.Wait() }))
			}
			synctest.Wait()
			if s := p.Stats(); s.Workers != 8 {
				t.Errorf("stats: %+v", s)
			}
			mustClose(t, p)
			mustClose(t, p)
		})
	})

	t.Run("while others submit", func(t *testing.T) {
		for range 200 {
			p := New(Options{Workers: 4})
			var taken, ran atomic.Int64
			var submitters sync.WaitGroup
			for range 3 {
				submitters.Go(func() {
					for p.Submit(once(func() { ran.Add(1) })) {
						taken.Add(1)
					}
				})
			}
			mustClose(t, p)
			submitters.Wait()
			if taken.Load() != ran.Load() {
				t.Fatalf("%d tasks taken, %d ran", taken.Load(), ran.Load())
			}
		}
	})
}

const panicEnv = "WEIR_POOL_PANIC"

func TestPanicEndsTheProcess(t *testing.T) {
	if os.Getenv(panicEnv) != "" {
		p := New(Options{})
		p.Submit(once(func() { panic("our own mistake") }))
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPanicEndsTheProcess$")
	cmd.Env = append(os.Environ(), panicEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: our own mistake") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Workers: 1, QueueHigh: 1}, {Workers: maxWorkers}} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	err := Options{Workers: -1, QueueHigh: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "workers") || !strings.Contains(err.Error(), "queue_high") {
		t.Errorf("Validate = %v, want both mistakes", err)
	}
	if err := (Options{Workers: maxWorkers + 1}).Validate(); err == nil {
		t.Error("too many workers are fine")
	}
}

// lane is a task whose owner keeps the rule: it is in the pool at most once.
type lane struct {
	p       *Pool
	state   atomic.Int32 // laneIdle…
	mail    atomic.Int64 // events that came
	turns   int64        // the turn's, without a lock: the pool orders turns
	served  int64
	inTurn  atomic.Int32
	overlap atomic.Bool
}

const (
	laneIdle = iota
	laneQueued
	laneRunning
	laneDirty
)

func (l *lane) post() {
	l.mail.Add(1)
	for {
		switch s := l.state.Load(); s {
		case laneIdle:
			if l.state.CompareAndSwap(s, laneQueued) {
				l.p.Submit(l)
				return
			}
		case laneRunning:
			if l.state.CompareAndSwap(s, laneDirty) {
				return
			}
		default:
			return
		}
	}
}

func (l *lane) Run() bool {
	if l.inTurn.Add(1) != 1 {
		l.overlap.Store(true)
	}
	l.state.Store(laneRunning)
	l.turns++
	more := l.mail.Load() - l.served
	l.served += min(more, 2) // a bounded turn
	l.inTurn.Add(-1)
	if more > 2 {
		l.state.Store(laneQueued)
		return true
	}
	if l.state.CompareAndSwap(laneRunning, laneIdle) {
		return false
	}
	l.state.Store(laneQueued)
	return true
}

// Many posters, many lanes, few workers: every event is served, no two turns
// of a lane overlap, and each sees what the one before wrote.
func TestHammer(t *testing.T) {
	const posters, lanes, posts = 8, 50, 4000
	p := New(Options{Workers: 4, QueueHigh: 8})
	all := make([]*lane, lanes)
	for i := range all {
		all[i] = &lane{p: p}
	}
	var wg sync.WaitGroup
	for k := range posters {
		wg.Go(func() {
			for i := range posts {
				all[(i*7+k*13)%lanes].post()
				if i%64 == 0 {
					p.Overloaded()
					p.Stats()
				}
			}
		})
	}
	wg.Wait()
	mustClose(t, p)
	var served, turns int64
	for _, l := range all {
		served += l.served
		turns += l.turns
		if l.overlap.Load() {
			t.Error("two turns of a lane overlapped")
		}
	}
	if served != posters*posts {
		t.Errorf("%d events served, want %d", served, posters*posts)
	}
	s := p.Stats()
	if s.Done != uint64(turns) || s.Done != s.Submitted+s.Requeued || s.QueuedMax > lanes {
		t.Errorf("%d turns, stats: %+v", turns, s)
	}
}

// signal is a task that tells when it ran.
type signal struct{ ran chan struct{} }

func (s *signal) Run() bool { s.ran <- struct{}{}; return false }

func TestSubmitAllocs(t *testing.T) {
	p := New(Options{Workers: 2})
	task := &signal{ran: make(chan struct{})}
	if n := testing.AllocsPerRun(1000, func() { p.Submit(task); <-task.ran }); n != 0 {
		t.Errorf("a hand-over costs %v allocations, want 0", n)
	}
	many := make([]*signal, 100)
	for i := range many {
		many[i] = &signal{ran: task.ran}
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, s := range many {
			p.Submit(s)
		}
		for range many {
			<-task.ran
		}
	}); n != 0 {
		t.Errorf("100 hand-overs cost %v allocations, want 0", n)
	}
	mustClose(t, p)
}

func TestQueueKeepsOrderWhileItGrows(t *testing.T) {
	var q queue
	next, want := 0, 0
	var ran int
	for _, step := range []struct{ push, pop int }{{3, 1}, {100, 40}, {1000, 1062}, {70, 60}, {500, 510}} {
		for range step.push {
			k := next
			q.push(once(func() { ran = k }))
			next++
		}
		for range step.pop {
			q.pop().Run()
			if ran != want {
				t.Fatalf("popped %d, want %d", ran, want)
			}
			want++
		}
	}
	if q.n != 0 {
		t.Errorf("%d left", q.n)
	}
	for _, task := range q.ring {
		if task != nil {
			t.Fatal("the ring keeps a task alive")
		}
	}
}
