package runtime

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
)

// Tape is what one instance was asked and answered, from its birth or a snapshot of it until its guest stopped. With
// the module's file it can be played again ([Replay]). A Tape does not change; any goroutine may use it.
//
// It holds what clients sent and what the guest knew, in clear.
type Tape struct {
	TapeHeader
	start   tapeStart
	entries []byte
}

// TapeHeader says what a tape is of. All of it is in the file as JSON.
type TapeHeader struct {
	Weir         string    `json:"weir,omitempty"` // version of weir that recorded it, if known
	Module       string    `json:"module"`
	Generation   uint64    `json:"generation"`
	Instance     uint64    `json:"instance"`       // number of the instance in its generation
	Digest       string    `json:"digest"`         // SHA-256 of the module's file, in hexadecimal
	Time         time.Time `json:"time"`           // when the guest stopped
	Arch         string    `json:"arch"`           // GOARCH
	Interpreter  bool      `json:"interpreter"`    // Options.Interpreter
	Metered      bool      `json:"metered"`        // fuel was counted
	Capabilities []string  `json:"capabilities"`   // that were granted
	MemoryPages  uint32    `json:"memory_pages"`   // ModuleOptions.MemoryPages
	Limits       Limits    `json:"limits"`         // ModuleOptions.Limits
	First        uint64    `json:"first"`          // number of the first event on the tape; the instance's first one is 0
	Start        TapeBegin `json:"start"`          // what the tape begins with
	Why          string    `json:"why,omitempty"`  // why there is no snapshot, if Start is TapeFromNowhere
	Trap         *TapeTrap `json:"trap,omitempty"` // how it ended
}

// TapeBegin is what a tape begins with.
type TapeBegin string

// The beginnings.
const (
	TapeFromBirth    TapeBegin = "birth"    // the instance's start: any module can be given the same events
	TapeFromSnapshot TapeBegin = "snapshot" // the state of the instance, which only the same module understands
	TapeFromNowhere  TapeBegin = "nowhere"  // the beginning was lost; the tape can be read but not played
)

// TapeTrap is how a guest stopped.
type TapeTrap struct {
	Number  uint64 `json:"number"`          // of the event, which may not have been delivered (Export says)
	Export  string `json:"export"`          // guest function that was called
	Reason  string `json:"reason"`          // Reason, as a word
	Message string `json:"message"`         // as in TrapError
	Stack   string `json:"stack,omitempty"` // as in TrapError
	Spent   int64  `json:"spent"`           // fuel of the call
}

// tapeStart is the state that a tape begins with.
type tapeStart struct {
	random  []byte // state of the instance's random stream
	clock   clock
	fresh   bool
	buffer  uint32
	bytes   int // Instance.bufferBytes
	globals []globalValue
	memory  []byte // linear memory; of TapeFromBirth nothing but random is set
}

type globalValue struct {
	index uint32
	value uint64
}

// Entries are written one after the other without padding. Numbers are varints, signed ones zigzag; a text or a payload
// is its length and its bytes. An entryEvent or entryInbound is followed by what the guest asked its Host for, in
// order, and an entryEnd or an entryTrap; a call's answer follows its arguments.
const (
	entryEvent   = 0x01 // event, conn, arg, length of the payload, bytes lent: the payload and what was written behind it
	entryInbound = 0x02 // bytes asked of weir_inbound
	entryFill    = 0x03 // bytes lent and then not delivered
	entryEnd     = 0x04 // result, fuel
	entryTrap    = 0x05 // Reason, fuel of the guest's own and number of host functions (as in stopPoint), fuel
	entryCut     = 0x06 // the event asked for more than is kept; the rest of it is missing
	entryTime    = 0x07 // milliseconds of the day's time, monotonic nanoseconds
	entryCall    = 0x40 // plus an index into tapeFuncs
)

// tapeFunc says what follows the byte of a call. Arguments: c a connection, i a number, b bytes. The answer: s a number,
// v bytes and a number.
type tapeFunc struct{ name, args, answer string }

// The calls, by their number in the format; it is never given to another.
const (
	callConnSend = iota
	callConnClose
	callConnAttr
	callConnStateGet
	callConnStateSet
	callConnQueued
	callTopicJoin
	callTopicLeave
	callTopicPublish
	callTopicCount
	callTimerSet
	callTimerCancel
	callMetricAdd
	callUpgradeURI
	callUpgradeHeader
	callUpgradeProtocol
	callUpgradeRespondHeader
	callStateSave
	callInstanceKey
)

var tapeFuncs = [...]tapeFunc{
	callConnSend:             {"conn_send", "cib", "s"},
	callConnClose:            {"conn_close", "cib", "s"},
	callConnAttr:             {"conn_attr", "cb", "v"},
	callConnStateGet:         {"conn_state_get", "c", "v"},
	callConnStateSet:         {"conn_state_set", "cb", "s"},
	callConnQueued:           {"conn_queued", "c", "s"},
	callTopicJoin:            {"topic_join", "cb", "s"},
	callTopicLeave:           {"topic_leave", "cb", "s"},
	callTopicPublish:         {"topic_publish", "bibc", "s"},
	callTopicCount:           {"topic_count", "b", "s"},
	callTimerSet:             {"timer_set", "ciii", "s"},
	callTimerCancel:          {"timer_cancel", "ci", "s"},
	callMetricAdd:            {"metric_add", "bi", "s"},
	callUpgradeURI:           {"upgrade_uri", "", "v"},
	callUpgradeHeader:        {"upgrade_header", "b", "v"},
	callUpgradeProtocol:      {"upgrade_protocol", "b", "s"},
	callUpgradeRespondHeader: {"upgrade_respond_header", "bb", "s"},
	callStateSave:            {"state_save", "b", "s"},
	callInstanceKey:          {"instance_key", "", "v"},
}

// TapeStep is one thing that was asked of the guest.
type TapeStep struct {
	Number  uint64     // of the event, counted from the instance's birth
	Kind    TapeKind   // which of the other fields matter
	Event   Event      // of StepEvent
	Conn    uint64     // of StepEvent
	Arg     int64      // of StepEvent
	Lent    []byte     // what was written into the guest's buffer; the payload of StepEvent is the first Length bytes
	Length  int        // of the payload of StepEvent; bytes asked for by StepInbound
	Calls   []TapeCall // what the guest asked its Host for
	Cut     bool       // calls behind these are missing
	Trapped bool       // Reason holds, rather than Result
	Reason  Reason
	Result  int64 // what the guest answered; of StepInbound, the address
	Spent   int64 // fuel

	raw      []byte // of the calls, as they are on the tape
	stopFuel int64  // if it trapped: as in stopPoint
	stopHits int
}

// Payload is what the event brought.
func (s *TapeStep) Payload() []byte { return s.Lent[:s.Length] }

// TapeKind is what a step is.
type TapeKind uint8

// The kinds.
const (
	StepEvent   TapeKind = entryEvent
	StepInbound TapeKind = entryInbound // the guest was asked for a buffer for the payload of the event with that number
	StepFill    TapeKind = entryFill    // a payload was begun and then not delivered
)

// String names the step as error texts do.
func (s *TapeStep) String() string {
	switch s.Kind {
	case StepInbound:
		return fmt.Sprintf("%s before event %d", exportInbound, s.Number)
	case StepFill:
		return fmt.Sprintf("a payload that was not delivered, before event %d", s.Number)
	default:
		return fmt.Sprintf("event %d (%s)", s.Number, s.Event)
	}
}

// TapeCall is one thing that the guest asked its Host for. The bytes belong to the tape.
type TapeCall struct {
	Func    string   // as in the ABI; "time" for both clocks, which are read at once
	Numbers []int64  // arguments, in their order; a connection is one too
	Bytes   [][]byte // arguments, in their order
	Value   []byte   // what was answered, if that is bytes
	Status  int64    // what was answered; of "time", nothing

	args string // letters of tapeFunc
}

// callTime is TapeCall.Func of a look at the clock.
const callTime = "time"

// maxShownBytes bounds what String shows of one argument.
const maxShownBytes = 64

// String shows the call and its answer, such as `conn_send(7, 1, "hello") = 0`.
func (c TapeCall) String() string {
	if c.Func == callTime {
		return fmt.Sprintf("time() = %d ms, %d ns", c.Numbers[0], c.Numbers[1])
	}
	s := c.call() + " = " + strconv.FormatInt(c.Status, 10)
	if c.Value != nil {
		s += " " + quoteShort(c.Value)
	}
	return s
}

// call shows the call without its answer.
func (c TapeCall) call() string {
	var b strings.Builder
	b.WriteString(c.Func + "(")
	numbers, texts := c.Numbers, c.Bytes
	for i, letter := range c.args {
		if i > 0 {
			b.WriteString(", ")
		}
		switch letter {
		case 'b':
			b.WriteString(quoteShort(texts[0]))
			texts = texts[1:]
		case 'c':
			b.WriteString(strconv.FormatUint(uint64(numbers[0]), 10))
			numbers = numbers[1:]
		default:
			b.WriteString(strconv.FormatInt(numbers[0], 10))
			numbers = numbers[1:]
		}
	}
	return b.String() + ")"
}

func quoteShort(p []byte) string {
	if len(p) <= maxShownBytes {
		return strconv.Quote(string(p))
	}
	return fmt.Sprintf("%q… (%d bytes)", p[:maxShownBytes], len(p))
}

// Steps takes the tape apart. An error says where it is damaged; the steps before that come with it.
func (t *Tape) Steps() ([]TapeStep, error) {
	d := tapeReader{rest: t.entries}
	var steps []TapeStep
	number := t.First
	for len(d.rest) > 0 {
		at := len(t.entries) - len(d.rest)
		s, ok := d.step()
		if !ok {
			return steps, fmt.Errorf("tape: the entry at byte %d of %d is damaged: %s", at, len(t.entries), d.problem)
		}
		s.Number = number
		if s.Kind == StepEvent {
			number++
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// tapeReader decodes entries. It trusts nothing: what it allocates is proportional to what it has read.
type tapeReader struct {
	rest    []byte
	problem string
}

func (d *tapeReader) fail(format string, args ...any) bool {
	if d.problem == "" {
		d.problem = fmt.Sprintf(format, args...)
	}
	return false
}

func (d *tapeReader) step() (s TapeStep, ok bool) {
	switch kind := d.u8(); kind {
	case entryFill:
		s.Kind, s.Lent = StepFill, d.bytes(nil)
		return s, d.problem == ""
	case entryInbound:
		s.Kind, s.Length = StepInbound, d.length()
	case entryEvent:
		s.Kind, s.Event, s.Conn, s.Arg = StepEvent, Event(d.u8()), d.uint(), d.int()
		s.Length, s.Lent = d.length(), d.bytes(nil)
		if s.Length > len(s.Lent) {
			d.fail("a payload of %d bytes in %d", s.Length, len(s.Lent))
		}
	default:
		d.fail("it begins with 0x%02x", kind)
	}
	if d.problem != "" {
		return s, false
	}
	calls := d.rest
	for {
		behind := len(d.rest)
		switch kind := d.u8(); {
		case d.problem != "":
			return s, false
		case kind == entryEnd, kind == entryTrap:
			s.raw = calls[:len(calls)-behind]
			if s.Trapped = kind == entryTrap; s.Trapped {
				s.Reason, s.stopFuel, s.stopHits = Reason(d.u8()), d.int(), d.length()
			} else {
				s.Result = d.int()
			}
			s.Spent = d.int()
			return s, d.problem == ""
		case kind == entryCut:
			s.Cut = true
		default:
			c, ok := d.call(kind, s.Lent)
			if !ok {
				return s, false
			}
			s.Calls = append(s.Calls, c)
		}
	}
}

// call decodes what follows the byte of a call, up to and with its answer.
func (d *tapeReader) call(kind byte, lent []byte) (TapeCall, bool) {
	if kind == entryTime {
		return TapeCall{Func: callTime, Numbers: []int64{d.int(), d.int()}}, d.problem == ""
	}
	c, f, ok := d.args(kind, lent)
	if !ok {
		return c, false
	}
	if f.answer == "v" {
		c.Value = d.bytes(nil)
	}
	c.Status = d.int()
	return c, d.problem == ""
}

func (d *tapeReader) args(kind byte, lent []byte) (c TapeCall, f tapeFunc, ok bool) {
	i := int(kind) - entryCall
	if i < 0 || i >= len(tapeFuncs) {
		return c, f, d.fail("there is no call 0x%02x", kind)
	}
	f = tapeFuncs[i]
	c.Func, c.args = f.name, f.args
	for _, letter := range f.args {
		switch letter {
		case 'c':
			c.Numbers = append(c.Numbers, int64(d.uint()))
		case 'i':
			c.Numbers = append(c.Numbers, d.int())
		case 'b':
			c.Bytes = append(c.Bytes, d.bytes(lent))
		}
	}
	return c, f, d.problem == ""
}

func (d *tapeReader) u8() byte {
	if len(d.rest) == 0 {
		d.fail("it ends early")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *tapeReader) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("a number is damaged")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *tapeReader) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

// maxTapeLength bounds a length on the tape: none can be larger than a guest's memory.
const maxTapeLength = maxMemoryPages * wasmPageBytes

func (d *tapeReader) length() int {
	n := d.uint()
	if n > maxTapeLength {
		d.fail("a length of %d", n)
		return 0
	}
	return int(n)
}

// bytes decodes a payload. The lowest bit of its length says that it is the beginning of lent.
func (d *tapeReader) bytes(lent []byte) []byte {
	v := d.uint()
	from := &d.rest
	if v&1 != 0 {
		from = &lent
	}
	n := v >> 1
	if n > uint64(len(*from)) {
		d.fail("%d bytes of %d", n, len(*from))
		return nil
	}
	p := (*from)[:n:n]
	*from = (*from)[n:]
	return p
}

// A file is tapeMagic and sections: a byte that says which, the length and the CRC-32C of the content, four bytes each,
// little-endian, and the content. They come in the order below, each once.
const (
	tapeMagic      = "weirtape\x01" // the last byte is the version
	sectionHeader  = 'h'
	sectionStart   = 's'
	sectionEntries = 'e'

	sectionHeadBytes = 9
	maxHeaderBytes   = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the tape as a file. The memory of a snapshot is compressed, which takes some 10 ms a MiB.
func (t *Tape) Encode() ([]byte, error) {
	header, err := json.Marshal(t.TapeHeader)
	if err != nil {
		return nil, fmt.Errorf("tape: %w", err)
	}
	out := []byte(tapeMagic)
	out = appendSection(out, sectionHeader, header)
	out = appendSection(out, sectionStart, t.start.encode())
	return appendSection(out, sectionEntries, t.entries), nil
}

func appendSection(out []byte, id byte, content []byte) []byte {
	out = append(out, id)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(content)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(content, castagnoli))
	return append(out, content...)
}

func (s *tapeStart) encode() []byte {
	w := tapeWriter{}
	w.bytes(s.random)
	w.int(s.clock.unixMs)
	w.int(s.clock.monoNs)
	w.int(s.clock.skewNs)
	fresh := byte(0)
	if s.fresh {
		fresh = 1
	}
	w.u8(fresh)
	w.uint(uint64(s.buffer))
	w.uint(uint64(s.bytes))
	w.uint(uint64(len(s.globals)))
	for _, g := range s.globals {
		w.uint(uint64(g.index))
		w.uint(g.value)
	}
	w.uint(uint64(len(s.memory)))
	packed := bytes.NewBuffer(w.tape)
	deflate, _ := flate.NewWriter(packed, flate.BestSpeed) // the level is valid, and a buffer never fails
	_, _ = deflate.Write(s.memory)
	_ = deflate.Close()
	return packed.Bytes()
}

// DecodeTape reads a file that [Tape.Encode] has made, and any other without harm: what it allocates is bounded by what
// file can hold when it is unpacked. The tape refers to file, which must not change. An error says what is wrong.
func DecodeTape(file []byte) (*Tape, error) {
	version := len(tapeMagic) - 1
	if len(file) <= version || string(file[:version]) != tapeMagic[:version] {
		return nil, errors.New("tape: the file is not a tape")
	}
	if file[version] != tapeMagic[version] {
		return nil, fmt.Errorf("tape: its format has version %d; this weir reads version %d", file[version], tapeMagic[version])
	}
	t := new(Tape)
	rest := file[len(tapeMagic):]
	for _, s := range []struct {
		id   byte
		name string
		read func([]byte) error
	}{
		{sectionHeader, "header", t.readHeader},
		{sectionStart, "start", func(p []byte) error { return t.start.decode(p) }},
		{sectionEntries, "entries", func(p []byte) error { t.entries = p; return nil }},
	} {
		content, behind, err := section(rest, s.id)
		if err == nil {
			err = s.read(content)
		}
		if err != nil {
			return nil, fmt.Errorf("tape: the %s at byte %d: %w", s.name, len(file)-len(rest), err)
		}
		rest = behind
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("tape: %d bytes are left over at its end", len(rest))
	}
	return t, nil
}

func section(file []byte, id byte) (content, rest []byte, err error) {
	if len(file) < sectionHeadBytes {
		return nil, nil, errors.New("is missing: the file ends early")
	}
	if file[0] != id {
		return nil, nil, fmt.Errorf("is missing: there is a section %q instead", file[0])
	}
	n := uint64(binary.LittleEndian.Uint32(file[1:]))
	sum := binary.LittleEndian.Uint32(file[5:])
	file = file[sectionHeadBytes:]
	if n > uint64(len(file)) {
		return nil, nil, fmt.Errorf("has %d of its %d bytes: the file ends early", len(file), n)
	}
	if crc32.Checksum(file[:n], castagnoli) != sum {
		return nil, nil, errors.New("is damaged: its checksum is wrong")
	}
	return file[:n:n], file[n:], nil
}

func (t *Tape) readHeader(p []byte) error {
	if len(p) > maxHeaderBytes {
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(p), maxHeaderBytes)
	}
	if err := json.Unmarshal(p, &t.TapeHeader); err != nil {
		return err
	}
	switch t.Start {
	case TapeFromBirth, TapeFromSnapshot, TapeFromNowhere:
		return nil
	default:
		return fmt.Errorf("start: %q is not one of %q, %q, %q", t.Start, TapeFromBirth, TapeFromSnapshot, TapeFromNowhere)
	}
}

func (s *tapeStart) decode(p []byte) error {
	d := tapeReader{rest: p}
	s.random = d.bytes(nil)
	s.clock = clock{unixMs: d.int(), monoNs: d.int(), skewNs: d.int()}
	s.fresh = d.u8() != 0
	buffer := d.uint()
	s.buffer, s.bytes = uint32(buffer), d.length()
	if buffer != uint64(s.buffer) {
		d.fail("a buffer at %d", buffer)
	}
	for n := d.uint(); n > 0 && d.problem == ""; n-- {
		index, value := d.uint(), d.uint()
		if index > maxGlobalIndex {
			d.fail("global %d", index)
		}
		s.globals = append(s.globals, globalValue{uint32(index), value})
	}
	size := d.length()
	switch {
	case d.problem != "":
		return errors.New(d.problem)
	case s.clock.skewNs < 0 || s.clock.skewNs > maxSkewNs:
		return fmt.Errorf("a clock that is %d ns ahead", s.clock.skewNs)
	case size%wasmPageBytes != 0:
		return fmt.Errorf("a memory of %d bytes", size)
	}
	// The buffer grows with what comes out, so a short file cannot ask for much.
	var memory bytes.Buffer
	inflate := flate.NewReader(bytes.NewReader(d.rest))
	switch n, err := io.Copy(&memory, io.LimitReader(inflate, int64(size)+1)); {
	case err != nil:
		return fmt.Errorf("memory: %w", err)
	case n != int64(size):
		return fmt.Errorf("memory: %d of %d bytes", n, size)
	}
	if size > 0 {
		s.memory = memory.Bytes()
	}
	return nil
}

// maxGlobalIndex bounds the index of a global on a tape; a module has fewer.
const maxGlobalIndex = 1 << 24

// tapeWriter encodes what tapeReader decodes.
type tapeWriter struct{ tape []byte }

func (w *tapeWriter) u8(b byte)     { w.tape = append(w.tape, b) }
func (w *tapeWriter) uint(v uint64) { w.tape = binary.AppendUvarint(w.tape, v) }
func (w *tapeWriter) int(v int64)   { w.tape = binary.AppendUvarint(w.tape, uint64(v)<<1^uint64(v>>63)) }

func (w *tapeWriter) bytes(p []byte) {
	w.uint(uint64(len(p)) << 1)
	w.tape = append(w.tape, p...)
}
