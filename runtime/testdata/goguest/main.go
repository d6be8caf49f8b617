//go:build wasip1

// Goguest is what TestAStockGoGuestRuns compiles: a guest in stock Go without the SDK.
package main

import (
	"os"
	"strconv"
	"time"
	"unsafe"
)

//go:wasmimport weir_1 conn_send
func connSend(conn uint64, kind uint32, p unsafe.Pointer, n uint32) int32

var buffer []byte

//go:wasmexport weir_abi_1
func abi() uint64 { return 1<<3 | 1<<4 }

//go:wasmexport weir_inbound
func inbound(size uint32) unsafe.Pointer {
	buffer = make([]byte, size)
	return unsafe.Pointer(unsafe.SliceData(buffer))
}

//go:wasmexport weir_event
func event(event uint32, conn, arg uint64, p unsafe.Pointer, n uint32) int32 {
	text := string(unsafe.Slice((*byte)(p), n))
	if event == 4 {
		panic(text)
	}
	os.Stdout.WriteString("got " + strconv.Itoa(len(text)) + " bytes\n")
	start := time.Now()
	time.Sleep(time.Second)
	out := []byte(text + " " + start.UTC().Format(time.RFC3339) + " " + time.Since(start).Round(time.Millisecond).String())
	return connSend(conn, event-2, unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out)))
}

func main() {}
