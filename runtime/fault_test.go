package runtime

import (
	"context"
	"slices"
	"testing"
)

func TestAHostFunctionFailsWhenATestWantsIt(t *testing.T) {
	asked := 0
	fault := func(name string) (Status, bool) {
		if name == "conn_send" {
			asked++
		}
		return StatusQueueFull, name == "conn_send" && asked == 2
	}
	m, err := newEngine(t, Options{}).Load(context.Background(), guest(t, "echo"), ModuleOptions{Name: "echo", Generation: 1, Instances: 1, Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	i := take(t, m)
	defer m.Give(i)
	h := &fakeHost{}
	for n, want := range []Status{StatusOK, StatusQueueFull, StatusOK} {
		if got, err := send(i, h, EventText, 1, 0, "hello"); err != nil || got != int32(want) {
			t.Errorf("call %d answers %d, %v; want %v", n, got, err, want)
		}
	}
	if len(h.calls) != 2 {
		t.Errorf("the host heard %q", h.calls)
	}
}

func TestFaultsAndErrorsHaveNames(t *testing.T) {
	names := Faultable()
	if !slices.Contains(names, "topic_publish") || slices.Contains(names, "time_mono_ns") {
		t.Errorf("functions that can fail: %q", names)
	}
	errs := Errors()
	if len(errs) != 10 || errs["queue_full"] != StatusQueueFull || errs["too_many"] != StatusTooMany || errs["bad_pointer"] != StatusBadPointer {
		t.Errorf("errors: %v", errs)
	}
}
