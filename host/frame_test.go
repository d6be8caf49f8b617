package host

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

func TestFramesToClientsAreEncodedAsBrieflyAsTheyCanBe(t *testing.T) {
	for _, tc := range []struct {
		op     ws.OpCode
		bytes  int
		header []byte
	}{
		{ws.OpText, 0, []byte{0x81, 0}},
		{ws.OpText, 1, []byte{0x81, 1}},
		{ws.OpBinary, 125, []byte{0x82, 125}},
		{ws.OpBinary, 126, []byte{0x82, 126, 0, 126}},
		{ws.OpBinary, 65535, []byte{0x82, 126, 0xFF, 0xFF}},
		{ws.OpBinary, 65536, []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
		{ws.OpPong, 125, []byte{0x8A, 125}},
	} {
		payload := bytes.Repeat([]byte{0x5A}, tc.bytes)
		got := appendFrame([]byte("before"), tc.op, payload)
		if want := "before" + string(tc.header) + string(payload); string(got) != want {
			t.Errorf("opcode %x, %d bytes: frame begins % x, want % x", tc.op, tc.bytes, got[6:min(len(got), 20)], tc.header)
		}
		if n := frameBytes(tc.bytes); n != len(got)-6 {
			t.Errorf("%d bytes: frameBytes says %d, it is %d", tc.bytes, n, len(got)-6)
		}
	}
}

func TestCloseFramesFitAControlFrameAndStayText(t *testing.T) {
	for _, reason := range []string{
		"", "short", strings.Repeat("x", 123), strings.Repeat("x", 124), strings.Repeat("x", 5000),
		strings.Repeat("é", 100), "x" + strings.Repeat("é", 100), strings.Repeat("𝄞", 40), "xx" + strings.Repeat("漢", 50),
	} {
		f := appendClose(nil, 4000, reason)
		if f[0] != 0x88 || int(f[1]) != len(f)-2 || f[1] > 125 {
			t.Fatalf("reason of %d bytes: frame begins % x and is %d bytes long", len(reason), f[:2], len(f))
		}
		if code := binary.BigEndian.Uint16(f[2:]); code != 4000 {
			t.Errorf("code %d", code)
		}
		got := string(f[4:])
		if !strings.HasPrefix(reason, got) || !utf8.ValidString(got) || len(reason) <= 123 && got != reason || len(reason) > 123 && len(got) < 120 {
			t.Errorf("reason of %d bytes became %q", len(reason), got)
		}
	}
	if f := appendClose(nil, 0, "not sent without a code"); string(f) != "\x88\x00" {
		t.Errorf("a Close frame without code is % x", f)
	}
}

func TestOnlyCodesOfTheStandardTravel(t *testing.T) {
	for code := range 1 << 16 {
		defined := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
		if mayReceive(uint16(code)) != defined {
			t.Errorf("a peer may close with %d: %v", code, !defined)
		}
	}
	for code := int32(-70000); code <= 70000; code++ {
		want := code >= 3000 && code <= 4999
		switch code {
		case 1000, 1001, 1008, 1011, 1012, 1013:
			want = true
		}
		if mayHandlerSend(code) != want {
			t.Errorf("a handler may close with %d: %v", code, !want)
		}
	}
	for why := causeNone; why < causes; why++ {
		info := why.info()
		if why.String() == "" {
			t.Errorf("cause %d has no label", why)
		}
		if sent := info.code != 0 && info.code != codeAbnormal; sent && !mayReceive(info.code) || len(info.reason) > maxReasonBytes {
			t.Errorf("%v closes with %d %q", why, info.code, info.reason)
		}
	}
}
