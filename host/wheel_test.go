package host

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wheelModel is the wheel as a list.
type wheelModel struct {
	nodes []*modelNode
	fired map[*modelNode]int64 // and when, in ticks
	w     *wheel
	now   int64 // tick
}

type modelNode struct {
	node  wheelNode
	model *wheelModel
	due   int64 // tick; 0 not scheduled
	asked int64 // tick it was asked for, which may be past
	again int64 // ticks after which it schedules itself again
}

func (n *modelNode) fire(nowNs int64) {
	n.model.fired[n] = nowNs / int64(wheelTick)
	if n.again > 0 {
		n.model.schedule(n, n.again, false)
	}
}

// schedule sets n to a time relative to now, as the wheel sees it.
func (m *wheelModel) schedule(n *modelNode, ticks int64, onlyEarlier bool) {
	due := m.w.now + ticks
	if onlyEarlier {
		m.w.scheduleBefore(&n.node, due*int64(wheelTick))
		if n.due != 0 && n.asked <= due {
			return
		}
	} else {
		m.w.schedule(&n.node, due*int64(wheelTick))
	}
	n.asked = due
	n.due = max(due, m.w.now+1)
}

// ticksGen draws spans of every level's size, around the levels' borders too.
func ticksGen() *rapid.Generator[int64] {
	return rapid.Custom(func(t *rapid.T) int64 {
		level := rapid.IntRange(0, wheelLevels+1).Draw(t, "level")
		span := int64(1) << (wheelBits * level)
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			return span + rapid.Int64Range(-2, 2).Draw(t, "off")
		default:
			return rapid.Int64Range(-2, span).Draw(t, "ticks")
		}
	})
}

func TestWheelFiresLikeAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(1, 1<<38).Draw(t, "start")
		m := &wheelModel{fired: make(map[*modelNode]int64), now: start}
		m.w = newWheel(start*int64(wheelTick)+rapid.Int64Range(0, int64(wheelTick)-1).Draw(t, "within a tick"), nil)
		for range rapid.IntRange(1, 8).Draw(t, "nodes") {
			n := &modelNode{model: m}
			n.node.owner = n
			m.nodes = append(m.nodes, n)
		}
		node := func(t *rapid.T) *modelNode { return rapid.SampledFrom(m.nodes).Draw(t, "node") }
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(t *rapid.T) {
				n := node(t)
				n.again = 0
				m.schedule(n, ticksGen().Draw(t, "ticks"), false)
			},
			"schedule before": func(t *rapid.T) { m.schedule(node(t), ticksGen().Draw(t, "ticks"), true) },
			"repeat": func(t *rapid.T) {
				n := node(t)
				n.again = 1 + max(0, ticksGen().Draw(t, "period"))
				m.schedule(n, n.again, false)
			},
			"cancel": func(t *rapid.T) {
				n := node(t)
				m.w.cancel(&n.node)
				n.due = 0
			},
			"advance":         func(t *rapid.T) { m.advance(t, m.now+max(0, ticksGen().Draw(t, "ticks"))) },
			"advance to next": func(t *rapid.T) { m.advanceToNext(t) },
		})
	})
}

// advance jumps to a tick: what is due fires, once, and nothing else does.
func (m *wheelModel) advance(t *rapid.T, to int64) {
	due := make(map[*modelNode]bool)
	for _, n := range m.nodes {
		if n.due != 0 && n.due <= to {
			due[n] = true
			n.due = 0
		}
	}
	clear(m.fired)
	m.now = to
	m.w.advance(to*int64(wheelTick) + 3)
	for n := range due {
		if _, ok := m.fired[n]; !ok {
			t.Fatalf("a deadline at tick %d did not fire at %d", n.asked, to)
		}
	}
	for n := range m.fired {
		if !due[n] {
			t.Fatalf("at tick %d a deadline fired that is set to %d", to, n.due)
		}
	}
	if m.w.now != to {
		t.Fatalf("the wheel stands at %d, want %d", m.w.now, to)
	}
}

// advanceToNext does what a driver does; it may come for nothing, but never
// late.
func (m *wheelModel) advanceToNext(t *rapid.T) {
	earliest := neverTick
	for _, n := range m.nodes {
		if n.due != 0 {
			earliest = min(earliest, n.due)
		}
	}
	at, ok := m.w.next()
	switch {
	case !ok && earliest != neverTick:
		t.Fatalf("the wheel would sleep for ever; a deadline is at %d", earliest)
	case !ok:
		return
	case at/int64(wheelTick) > earliest:
		t.Fatalf("the wheel would sleep until %d; a deadline is at %d", at/int64(wheelTick), earliest)
	case at/int64(wheelTick) <= m.now:
		t.Fatalf("the wheel stands at %d and would be driven at %d at once", m.now, at/int64(wheelTick))
	}
	m.advance(t, at/int64(wheelTick))
}

func TestWheelFiresManyOfOneTick(t *testing.T) {
	w := newWheel(0, nil)
	m := &wheelModel{fired: make(map[*modelNode]int64), w: w}
	for range 1000 {
		n := &modelNode{model: m}
		n.node.owner = n
		w.schedule(&n.node, int64(time.Hour))
	}
	w.advance(int64(time.Hour) - 1)
	if len(m.fired) != 0 {
		t.Fatalf("%d fired too early", len(m.fired))
	}
	w.advance(int64(time.Hour))
	if len(m.fired) != 1000 {
		t.Errorf("%d of 1000 fired", len(m.fired))
	}
	if _, ok := w.next(); ok {
		t.Error("an empty wheel wants to be driven")
	}
}

func TestWheelJumpsOfDaysAreQuick(t *testing.T) {
	w := newWheel(0, nil)
	m := &wheelModel{fired: make(map[*modelNode]int64), w: w}
	n := &modelNode{model: m}
	n.node.owner = n
	const year = 365 * 24 * time.Hour
	w.schedule(&n.node, int64(10*year))
	steps := 0
	for len(m.fired) == 0 {
		at, ok := w.next()
		if !ok {
			t.Fatal("the deadline is forgotten")
		}
		w.advance(at)
		if steps++; steps > 1<<16 {
			t.Fatal("the driver would wake more than once an hour")
		}
	}
	if at := m.fired[n]; at != int64(10*year)/int64(wheelTick) {
		t.Errorf("fired at tick %d", at)
	}
	w.schedule(&n.node, int64(20*year))
	clear(m.fired)
	w.advance(int64(30 * year)) // one jump over everything
	if len(m.fired) != 1 {
		t.Error("the deadline did not fire")
	}
}

func TestWheelKicksItsDriverForAnEarlierDeadline(t *testing.T) {
	kicks := 0
	w := newWheel(0, func() { kicks++ })
	m := &wheelModel{fired: make(map[*modelNode]int64), w: w}
	late, soon, later := &modelNode{model: m}, &modelNode{model: m}, &modelNode{model: m}
	late.node.owner, soon.node.owner, later.node.owner = late, soon, later
	w.schedule(&late.node, int64(time.Hour))
	if kicks != 1 {
		t.Fatalf("%d kicks for the first deadline, want 1", kicks)
	}
	w.next()
	w.schedule(&later.node, int64(2*time.Hour))
	if kicks != 1 {
		t.Errorf("a later deadline kicked the driver")
	}
	w.schedule(&soon.node, int64(time.Second))
	if kicks != 2 {
		t.Errorf("an earlier deadline did not kick the driver")
	}
	w.scheduleBefore(&later.node, int64(3*time.Hour))
	w.scheduleBefore(&later.node, int64(time.Millisecond))
	if kicks != 3 {
		t.Errorf("%d kicks, want one more for the earliest", kicks)
	}
}

func TestWheelIsScheduledFromManyGoroutines(t *testing.T) {
	var wg sync.WaitGroup
	w := newWheel(0, nil)
	m := &counting{}
	nodes := make([]wheelNode, 64)
	for i := range nodes {
		nodes[i].owner = m
	}
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				n := &nodes[(i*7+g)%len(nodes)]
				switch i % 3 {
				case 0:
					w.schedule(n, int64(i+g)*int64(time.Millisecond))
				case 1:
					w.scheduleBefore(n, int64(i)*int64(time.Second))
				default:
					w.cancel(n)
				}
			}
		})
	}
	for now := range int64(300) {
		w.advance(now * int64(wheelTick))
		w.next()
	}
	wg.Wait()
	w.advance(int64(time.Hour) * 100)
	if _, ok := w.next(); ok {
		t.Error("something is still scheduled after everything was due")
	}
}

type counting struct{ n int }

func (c *counting) fire(int64) { c.n++ }
