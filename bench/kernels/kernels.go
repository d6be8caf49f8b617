package kernels

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kernel is a kind of work, by the byte that stands for it in a message.
type Kernel byte

// The kernels.
const (
	SHA256     Kernel = 's' // integers and rotations, in straight lines
	JSON       Kernel = 'j' // branches, small allocations, copies
	Mandelbrot Kernel = 'm' // floating point in a loop of a few instructions
)

// All lists the kernels.
func All() []Kernel { return []Kernel{SHA256, JSON, Mandelbrot} }

// String is the kernel's name.
func (k Kernel) String() string {
	switch k {
	case SHA256:
		return "sha256"
	case JSON:
		return "json"
	case Mandelbrot:
		return "mandelbrot"
	}
	return fmt.Sprintf("kernel %q", byte(k))
}

// About says in a few words what one round of the kernel is.
func (k Kernel) About() string {
	switch k {
	case SHA256:
		return fmt.Sprintf("SHA-256 of the last digest and %d B", sha256InputBytes)
	case JSON:
		return fmt.Sprintf("parse a document of %d B, change it, serialise it", len(jsonInput()))
	case Mandelbrot:
		return fmt.Sprintf("%d × %d points, at most %d steps each", gridWidth, gridHeight, gridLimit)
	}
	return k.String()
}

// headerBytes is the length of what precedes the input in a message: the kernel, and the rounds as a little-endian
// 32-bit number.
const headerBytes = 1 + 4

// Message is what asks a guest for that many rounds of a kernel on its input.
func Message(k Kernel, rounds uint32) []byte {
	m := binary.LittleEndian.AppendUint32([]byte{byte(k)}, rounds)
	switch k {
	case SHA256:
		return append(m, sha256Input()...)
	case JSON:
		return append(m, jsonInput()...)
	case Mandelbrot:
		return append(m, mandelbrotInput()...)
	}
	panic("kernels: " + k.String() + " has no input")
}

// ErrShort means that a message ends before its input begins.
var ErrShort = errors.New("kernels: the message is shorter than its header")

// Answer does what a message asks for.
func Answer(message []byte) ([]byte, error) {
	if len(message) < headerBytes {
		return nil, ErrShort
	}
	k, rounds, input := Kernel(message[0]), binary.LittleEndian.Uint32(message[1:]), message[headerBytes:]
	switch k {
	case SHA256:
		return hash(input, rounds), nil
	case JSON:
		return rewrite(input, rounds)
	case Mandelbrot:
		return mandelbrot(input, rounds)
	}
	return nil, fmt.Errorf("kernels: there is no %v", k)
}
