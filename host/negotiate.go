package host

import "strconv"

// Windows of DEFLATE by their logarithms (RFC 7692 §7.1.2).
const (
	minWindowBits = 8
	maxWindowBits = 15
)

const deflateName = "permessage-deflate"

// agreement is what one connection's peers have agreed on about
// permessage-deflate (RFC 7692 §7). It never changes once the connection is open.
// The zero value: messages are not compressed.
type agreement struct {
	in  lookback // of the peer's compressor
	out lookback // of ours
}

// lookback is what messages of one direction may refer to: the logarithm of the
// window, and keepsBit if earlier messages are in it.
type lookback uint8

const keepsBit lookback = 1 << 7

func newLookback(windowBits uint8, keeps bool) lookback {
	x := lookback(windowBits)
	if keeps {
		x |= keepsBit
	}
	return x
}

func (x lookback) bits() uint8 { return uint8(x &^ keepsBit) }
func (x lookback) keeps() bool { return x&keepsBit != 0 }

// bytes is how much of earlier messages is remembered.
func (x lookback) bytes() int {
	if !x.keeps() {
		return 0
	}
	return 1 << x.bits()
}

// compresses reports that either side may send compressed messages.
func (a agreement) compresses() bool { return a.out != 0 }

// keeps reports that either side may refer to earlier messages.
func (a agreement) keeps() bool { return a.in.keeps() || a.out.keeps() }

// shares is 1 if what is published is compressed for this connection as for
// others, else 0.
func (a agreement) shares() int {
	if a.compresses() && !a.out.keeps() {
		return 1
	}
	return 0
}

// keepsBytes is how much of earlier messages the connection has to remember.
func (a agreement) keepsBytes() int64 { return int64(a.in.bytes() + a.out.bytes()) }

// offer is one permessage-deflate of a client.
type offer struct {
	serverForgets bool // server_no_context_takeover
	clientForgets bool // client_no_context_takeover
	serverBits    uint8
	clientBits    uint8
	bitsOfServer  bool // server_max_window_bits is there
	bitsOfClient  bool // client_max_window_bits is there
	refused       bool // what is in it has to be declined
}

// note takes a parameter down. A name or value that RFC 7692 §7.1 does not know,
// and a parameter that comes twice, make the offer one to decline (§7).
func (o *offer) note(l *extensionList) {
	bits, isBits := windowBits(l.value)
	again := false
	switch string(l.name) {
	case "server_no_context_takeover":
		again, o.serverForgets = o.serverForgets, true
		o.refused = o.refused || l.valued
	case "client_no_context_takeover":
		again, o.clientForgets = o.clientForgets, true
		o.refused = o.refused || l.valued
	case "server_max_window_bits":
		again, o.bitsOfServer = o.bitsOfServer, true
		o.serverBits = bits
		o.refused = o.refused || !isBits
	case "client_max_window_bits": // without a value it says that the server may set one
		again, o.bitsOfClient = o.bitsOfClient, true
		o.clientBits = bits
		if !l.valued {
			o.clientBits, isBits = maxWindowBits, true
		}
		o.refused = o.refused || !isBits
	default:
		o.refused = true
	}
	o.refused = o.refused || again
}

// windowBits reads 8 to 15, written without leading zeros.
func windowBits(value []byte) (uint8, bool) {
	switch {
	case len(value) == 1 && (value[0] == '8' || value[0] == '9'):
		return value[0] - '0', true
	case len(value) == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5':
		return 10 + value[1] - '0', true
	default:
		return 0, false
	}
}

// answered is the agreement with what the response has to say of it.
type answered struct {
	agreement
	saysOutBits bool
	saysInBits  bool
}

// negotiate answers what a client offers: the first permessage-deflate that can
// be met, in the client's order. o is nil when compression is off. ok is false if
// a field breaks the grammar, which ends the handshake.
func (r *request) negotiate(o *DeflateOptions) (a answered, ok bool) {
	for i := range r.fields {
		if !equalFold(r.fields[i].name, "Sec-WebSocket-Extensions") {
			continue
		}
		l := extensionList{rest: r.fields[i].value}
		var now offer
		isDeflate := false
		settle := func() {
			if isDeflate && !a.compresses() && !now.refused && o != nil {
				a = o.accept(now)
			}
		}
		for l.next() {
			if l.isParam {
				now.note(&l)
				continue
			}
			settle()
			now, isDeflate = offer{}, string(l.name) == deflateName
		}
		settle()
		if l.broken {
			return answered{}, false
		}
	}
	return a, true
}

// accept meets an offer. Everything that RFC 7692 allows can be met: a smaller
// window for our compressor, and no takeover. The peer's window can be bounded
// only if it has said so; one that is larger than ours is not remembered.
func (o *DeflateOptions) accept(of offer) answered {
	limit := uint8(o.WindowBits)
	in, out := uint8(maxWindowBits), limit
	if of.bitsOfServer {
		out = min(limit, of.serverBits)
	}
	if of.bitsOfClient {
		in = min(limit, of.clientBits)
	}
	return answered{
		agreement: agreement{
			in:  newLookback(in, o.ContextTakeover && !of.clientForgets && in <= limit),
			out: newLookback(out, o.ContextTakeover && !of.serverForgets),
		},
		saysOutBits: of.bitsOfServer,
		saysInBits:  of.bitsOfClient && in < of.clientBits,
	}
}

// forget gives context takeover up.
func (a *answered) forget() { a.in, a.out = a.in&^keepsBit, a.out&^keepsBit }

// appendTo writes the response's header line.
func (a answered) appendTo(dst []byte) []byte {
	dst = append(dst, "Sec-WebSocket-Extensions: "+deflateName...)
	if !a.out.keeps() {
		dst = append(dst, "; server_no_context_takeover"...)
	}
	if !a.in.keeps() {
		dst = append(dst, "; client_no_context_takeover"...)
	}
	if a.saysOutBits {
		dst = strconv.AppendUint(append(dst, "; server_max_window_bits="...), uint64(a.out.bits()), 10)
	}
	if a.saysInBits {
		dst = strconv.AppendUint(append(dst, "; client_max_window_bits="...), uint64(a.in.bits()), 10)
	}
	return append(dst, "\r\n"...)
}
