package kernels

import "crypto/sha256"

const sha256InputBytes = 1024

func sha256Input() []byte {
	p := make([]byte, sha256InputBytes)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// hash returns the last of the digests, each of the one before and the input; the first is of zeros and the input.
func hash(input []byte, rounds uint32) []byte {
	block := make([]byte, sha256.Size, sha256.Size+len(input))
	block = append(block, input...)
	for range rounds {
		digest := sha256.Sum256(block)
		copy(block, digest[:])
	}
	return block[:sha256.Size]
}
