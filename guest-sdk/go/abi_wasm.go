//go:build wasip1

package weir

import (
	"math/bits"
	"unsafe"
)

// minInbound is the least that inbound holds, so that small messages ask once.
const minInbound = 4 << 10

// inbound is what the host writes events into. The host keeps its address, so it must not be collected.
var inbound []byte

//go:wasmexport weir_abi_1
func exportABI() uint64 { return handles() }

//go:wasmexport weir_inbound
func exportInbound(size uint32) unsafe.Pointer {
	if inbound == nil || int64(size) > int64(len(inbound)) {
		// The next power of two, so that messages that get longer bit by bit do not each cost a buffer.
		inbound = make([]byte, max(minInbound, int64(1)<<bits.Len32(size)))
	}
	return unsafe.Pointer(unsafe.SliceData(inbound))
}

//go:wasmexport weir_event
func exportEvent(event int32, conn uint64, arg int64, ptr unsafe.Pointer, size uint32) int32 {
	return dispatch(event, conn, arg, unsafe.Slice((*byte)(ptr), size))
}
