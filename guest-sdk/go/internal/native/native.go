// Package native lets a handler run outside a sandbox. It joins package weir, whose raw functions end here in a native
// build, with package weirtest, whose fake server answers them. One event runs at a time in the whole process, as one
// instance would have it; any goroutine may start one.
package native

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// Handles and Event are the handler's side, set by package weir: what weir_abi_1 and weir_event are to a server.
var (
	Handles func() uint64
	Event   func(event int32, conn uint64, arg int64, payload []byte) int32
)

var (
	mu      sync.Mutex             // held while an event runs
	current Host       = outside{} // what answers it
)

// Run delivers one event to the handler, with host answering its calls.
func Run(host Host, event int32, conn uint64, arg int64, payload []byte) int32 {
	mu.Lock()
	defer mu.Unlock()
	current = host
	defer func() { current = outside{} }()
	return Event(event, conn, arg, payload)
}

// Current returns the host of the event that runs. Between events it is one that can only log and tell the time.
func Current() Host { return current }

// outside answers calls that are made outside an event, from init functions for example.
type outside struct{}

var _ Host = outside{}

func (outside) ConnSend(uint64, int32, string) int32             { return StatusUnavailable }
func (outside) ConnClose(uint64, int32, string) int32            { return StatusUnavailable }
func (outside) ConnAttr(uint64, string, []byte) int32            { return StatusUnavailable }
func (outside) ConnStateGet(uint64, []byte) int32                { return StatusUnavailable }
func (outside) ConnStateSet(uint64, string) int32                { return StatusUnavailable }
func (outside) ConnQueued(uint64) int64                          { return StatusUnavailable }
func (outside) TopicJoin(uint64, string) int32                   { return StatusUnavailable }
func (outside) TopicLeave(uint64, string) int32                  { return StatusUnavailable }
func (outside) TopicPublish(string, int32, string, uint64) int32 { return StatusUnavailable }
func (outside) TopicCount(string) int32                          { return StatusUnavailable }
func (outside) TimerSet(uint64, int64, int64, int64) int32       { return StatusUnavailable }
func (outside) TimerCancel(uint64, int64) int32                  { return StatusUnavailable }
func (outside) MetricAdd(string, int64) int32                    { return StatusUnavailable }
func (outside) UpgradeURI([]byte) int32                          { return StatusUnavailable }
func (outside) UpgradeHeader(string, []byte) int32               { return StatusUnavailable }
func (outside) UpgradeProtocol(string) int32                     { return StatusUnavailable }
func (outside) UpgradeRespondHeader(string, string) int32        { return StatusUnavailable }
func (outside) StateSave(string) int32                           { return StatusUnavailable }
func (outside) InstanceKey([]byte) int32                         { return StatusUnavailable }

func (outside) TimeUnixMs() int64   { return time.Now().UnixMilli() }
func (outside) TimeMonoNs() int64   { return int64(time.Since(started)) }
func (outside) ABIHas(string) int32 { return 0 }

// Random repeats itself: what is made up before the first event is no secret.
func (outside) Random(data []byte) int32 {
	for i := range data {
		data[i] = byte(i)
	}
	return StatusOK
}

func (outside) Log(_ int32, text string) int32 {
	fmt.Fprintln(os.Stderr, text)
	return StatusOK
}

var started = time.Now()
