package host

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"

	"weir/pool"
)

// inflateTail follows a compressed message on its way into an inflater: what the
// sender has left out (RFC 7692 §7.2.2), then an empty final block, by whose end
// it is seen that the message had ended.
const inflateTail = deflateTail + "\x01\x00\x00\xff\xff"

// ratioFreeBytes is what a message may become whatever its ratio: as much as a
// message may have by default.
const ratioFreeBytes = 64 << 10

// inflater inflates one message at a time. It takes 40 KB, and is borrowed as a
// deflater is.
type inflater struct {
	src bytes.Reader
	r   io.ReadCloser // a flate.Resetter
}

func (s *Server) takeInflater() *inflater {
	f := s.compression.inflaters.take(func(*inflater) bool { return true })
	if f == nil {
		f = new(inflater)
		f.r = flate.NewReader(&f.src)
	}
	return f
}

func (s *Server) giveInflater(f *inflater) {
	f.src.Reset(nil)
	s.compression.inflaters.give(f, s.cores)
}

// begin makes r read what src has next.
func (f *inflater) begin(earlier []byte) {
	_ = f.r.(flate.Resetter).Reset(&f.src, earlier) // never fails
}

var (
	errInflate       = errors.New("host: not a DEFLATE stream")
	errInflateBig    = errors.New("host: inflates to more than a message may have")
	errInflateRatio  = errors.New("host: inflates to too many times its size")
	errInflateBudget = errors.New("host: no memory for what inflates")
)

// inflation is one message that is being inflated into a buffer which grows with
// it.
type inflation struct {
	srv   *Server
	out   *pool.Buf // out.B[:n] is what there is; counted in Server.inbound
	n     int
	limit int // bytes, inclusive
	ratio int
}

// run inflates data, which ends in inflateTail. On an error the buffer is given
// back already.
func (f *inflater) run(o *inflation, data, earlier []byte) error {
	err := f.inflate(o, data, earlier)
	if err != nil {
		o.release()
	}
	return err
}

// inflate inflates stream after stream: a final block ends one, and is allowed
// within a message (RFC 7692 §7.2.3.4). The next begins at the next byte and refers
// to nothing before, as after deflateReset of zlib.
func (f *inflater) inflate(o *inflation, data, earlier []byte) error {
	f.src.Reset(data)
	o.ratio *= len(data)
	if err := o.room(min(4*len(data), o.limit+1)); err != nil {
		return err
	}
	for {
		f.begin(earlier)
		if err := f.stream(o); err != nil {
			return err
		}
		// Where the stream ended says whose final block it was: ours; one that the
		// left-out bytes complete; one that ends the message; one within it; and one
		// that was cut off.
		switch left := f.src.Len(); {
		case left == 0, left == len(inflateTail)-len(deflateTail), left == len(inflateTail):
			return nil
		case left < len(inflateTail):
			return errInflate
		}
		earlier = nil
	}
}

// stream inflates to the end of a final block.
func (f *inflater) stream(o *inflation) error {
	for {
		n, err := f.r.Read(o.out.B[o.n:])
		o.n += n
		switch {
		case o.n > o.limit:
			return errInflateBig
		case o.n > ratioFreeBytes && o.n > o.ratio:
			return errInflateRatio
		case err == io.EOF:
			return nil
		case err != nil:
			return errInflate
		}
		if o.n == len(o.out.B) {
			if err := o.room(min(2*o.n, o.limit+1)); err != nil {
				return err
			}
		}
	}
}

// room makes the buffer at least n bytes long.
func (o *inflation) room(n int) error {
	const least = 1 << 10
	n = max(n, least)
	have := 0
	if o.out != nil {
		have = len(o.out.B)
	}
	if o.srv.inbound.Add(int64(n-have)) > int64(o.srv.opts().Server.InboundBudget) {
		o.srv.inbound.Add(-int64(n - have))
		return errInflateBudget
	}
	grown := pool.Take(n)
	if o.out != nil {
		copy(grown.B, o.out.B[:o.n])
		o.out.Release()
	}
	o.out = grown
	return nil
}

// message is what has been inflated.
func (o *inflation) message() []byte {
	if o.out == nil {
		return nil
	}
	return o.out.B[:o.n]
}

// release gives the buffer back.
func (o *inflation) release() {
	if o.out == nil {
		return
	}
	o.srv.inbound.Add(-int64(len(o.out.B)))
	o.out.Release()
	o.out, o.n = nil, 0
}
