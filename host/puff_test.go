package host

import (
	"errors"
	"slices"
)

// puff is DEFLATE by the letter of RFC 1951, one bit at a time: what the server's
// own streams and inflater are held against.
type puff struct {
	in    []byte
	bit   int // of in
	out   []byte
	from  int // out[:from] was there before
	reach int // the furthest that anything referred back
}

var errPuff = errors.New("not a DEFLATE stream")

// inflateByTheBook inflates one compressed message as RFC 7692 §7.2.2 says it;
// final blocks are allowed, with more behind them (§7.2.3.4).
func inflateByTheBook(payload, earlier []byte) (message []byte, reach int, err error) {
	if len(payload) == 0 {
		return nil, 0, nil
	}
	p := &puff{in: append(slices.Clone(payload), deflateTail...), out: slices.Clone(earlier), from: len(earlier)}
	for p.bit < 8*len(p.in) {
		final, err := p.block()
		if err != nil {
			return nil, 0, err
		}
		if final {
			p.bit = (p.bit + 7) &^ 7
			if p.bit == 8*len(payload) {
				break
			}
		}
	}
	return p.out[len(earlier):], p.reach, nil
}

func (p *puff) bits(n int) (v int, err error) {
	for i := range n {
		if p.bit >= 8*len(p.in) {
			return 0, errPuff
		}
		v |= int(p.in[p.bit/8]>>(p.bit%8)&1) << i
		p.bit++
	}
	return v, nil
}

// huffman holds how many codes there are of each length, and their symbols.
type huffman struct {
	count   [16]int
	symbols []int
}

func newHuffman(lengths []int) *huffman {
	h := &huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	for n := 1; n < 16; n++ {
		for symbol, length := range lengths {
			if length == n {
				h.symbols = append(h.symbols, symbol)
			}
		}
	}
	return h
}

func (p *puff) symbol(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		b, err := p.bits(1)
		if err != nil {
			return 0, err
		}
		code |= b
		if code-first < h.count[n] {
			return h.symbols[index+code-first], nil
		}
		index += h.count[n]
		first = (first + h.count[n]) << 1
		code <<= 1
	}
	return 0, errPuff
}

func (p *puff) block() (final bool, err error) {
	head, err := p.bits(3)
	if err != nil {
		return false, err
	}
	switch head >> 1 {
	case 0:
		err = p.stored()
	case 1:
		lengths := make([]int, 288)
		for i := range lengths {
			switch {
			case i < 144:
				lengths[i] = 8
			case i < 256:
				lengths[i] = 9
			case i < 280:
				lengths[i] = 7
			default:
				lengths[i] = 8
			}
		}
		err = p.codes(newHuffman(lengths), newHuffman(slices.Repeat([]int{5}, 30)))
	case 2:
		err = p.dynamic()
	default:
		err = errPuff
	}
	return head&1 == 1, err
}

func (p *puff) stored() error {
	at := (p.bit + 7) / 8
	if at+4 > len(p.in) {
		return errPuff
	}
	n := int(p.in[at]) | int(p.in[at+1])<<8
	if n^0xFFFF != int(p.in[at+2])|int(p.in[at+3])<<8 || at+4+n > len(p.in) {
		return errPuff
	}
	p.out = append(p.out, p.in[at+4:at+4+n]...)
	p.bit = 8 * (at + 4 + n)
	return nil
}

func (p *puff) dynamic() error {
	var counts [3]int
	for i, n := range []int{5, 5, 4} {
		v, err := p.bits(n)
		if err != nil {
			return err
		}
		counts[i] = v
	}
	nlen, ndist := counts[0]+257, counts[1]+1
	if nlen > 286 || ndist > 30 {
		return errPuff
	}
	lengths := make([]int, 19)
	for _, at := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:counts[2]+4] {
		v, err := p.bits(3)
		if err != nil {
			return err
		}
		lengths[at] = v
	}
	h := newHuffman(lengths)
	lengths = nil
	for len(lengths) < nlen+ndist {
		symbol, err := p.symbol(h)
		if err != nil {
			return err
		}
		repeat, value, extra, base := 1, symbol, 0, 0
		switch symbol {
		case 16:
			if len(lengths) == 0 {
				return errPuff
			}
			value, extra, base = lengths[len(lengths)-1], 2, 3
		case 17:
			value, extra, base = 0, 3, 3
		case 18:
			value, extra, base = 0, 7, 11
		}
		if base > 0 {
			if repeat, err = p.bits(extra); err != nil {
				return err
			}
			repeat += base
		}
		lengths = append(lengths, slices.Repeat([]int{value}, repeat)...)
	}
	if len(lengths) > nlen+ndist || lengths[256] == 0 {
		return errPuff
	}
	return p.codes(newHuffman(lengths[:nlen]), newHuffman(lengths[nlen:]))
}

var (
	puffLengths    = []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	puffLengthBits = []int{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	puffDists      = []int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
)

func (p *puff) codes(literals, distances *huffman) error {
	for {
		symbol, err := p.symbol(literals)
		switch {
		case err != nil:
			return err
		case symbol < 256:
			p.out = append(p.out, byte(symbol))
			continue
		case symbol == 256:
			return nil
		case symbol-257 >= len(puffLengths):
			return errPuff
		}
		extra, err := p.bits(puffLengthBits[symbol-257])
		if err != nil {
			return err
		}
		length := puffLengths[symbol-257] + extra
		d, err := p.symbol(distances)
		if err != nil {
			return err
		}
		if d >= len(puffDists) {
			return errPuff
		}
		if extra, err = p.bits(max(d/2-1, 0)); err != nil {
			return err
		}
		dist := puffDists[d] + extra
		if dist > len(p.out) {
			return errPuff
		}
		p.reach = max(p.reach, dist)
		for range length {
			p.out = append(p.out, p.out[len(p.out)-dist])
		}
	}
}
