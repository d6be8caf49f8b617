package load

import "testing"

func TestAcceptKeyIsThatOfTheRFC(t *testing.T) {
	if got := string(acceptKey("dGhlIHNhbXBsZSBub25jZQ==")); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %s", got)
	}
}

func TestHandshakesDifferFromEachOther(t *testing.T) {
	seen := make(map[string]bool)
	for _, h := range handshakes("127.0.0.1:1", "/", false) {
		seen[string(h.accept)] = true
	}
	if len(seen) != handshakeKeys {
		t.Errorf("%d different accept keys, want %d", len(seen), handshakeKeys)
	}
}

func TestCheckResponse(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: key\r\n\r\n"
	for _, c := range []struct {
		name, in string
		n        int
		bad      bool
	}{
		{name: "a good answer", in: good, n: len(good)},
		{name: "half an answer waits for more", in: good[:40]},
		{name: "bytes behind it are left", in: good + "\x82\x00", n: len(good)},
		{name: "another status is refused", in: "HTTP/1.1 503 Busy\r\nupgrade: websocket\r\nSec-WebSocket-Accept: key\r\n\r\n", bad: true},
		{name: "another key is refused", in: "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: other\r\n\r\n", bad: true},
		{name: "no upgrade is refused", in: "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: key\r\n\r\n", bad: true},
		{name: "a line that is no header is refused", in: "HTTP/1.1 101 x\r\nnonsense\r\n\r\n", bad: true},
		{name: "an endless answer is refused", in: string(make([]byte, maxResponseBytes+1)), bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := checkResponse([]byte(c.in), []byte("key"))
			if n != c.n || (err != nil) != c.bad {
				t.Errorf("got %d, %v", n, err)
			}
		})
	}
}

func TestWorkloadNames(t *testing.T) {
	for name, want := range map[string]Workload{
		"echo-1000x128":    {KindEcho, 1000, 128, 1},
		"echo-50x128x16":   {KindEcho, 50, 128, 16},
		"publish-1000x128": {KindPublish, 1000, 128, 1},
		"idle-15000":       {KindIdle, 15000, 0, 1},
		"connect-1000":     {KindConnect, 1000, 0, 1},
		"connect-1000x64":  {KindConnect, 1000, 0, 64},
	} {
		got, err := ParseWorkload(name)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", name, got, err)
		}
		if got.String() != name {
			t.Errorf("%s is written %s", name, got)
		}
	}
	for _, name := range []string{"", "echo", "echo-", "echo-10", "echo-10x", "echo-0x5", "echo-1x2x3x4", "idle-5x5", "dance-5", "echo-ax5"} {
		if w, err := ParseWorkload(name); err == nil {
			t.Errorf("%q is taken for %+v", name, w)
		}
	}
}

func TestCheckPayload(t *testing.T) {
	tmpl := template(40)
	whole := template(40)
	var s [stampBytes]byte
	stamp(&s, 7, 300)
	copy(whole, s[:])
	if string(s[:]) != "000000070000012c" {
		t.Errorf("the stamp is %q", s)
	}
	for cut := range len(whole) + 1 {
		if err := checkPayload(whole[:cut], 0, tmpl, 7, 300); err != nil {
			t.Errorf("first %d bytes: %v", cut, err)
		}
		if err := checkPayload(whole[cut:], cut, tmpl, 7, 300); err != nil {
			t.Errorf("behind byte %d: %v", cut, err)
		}
	}
	for i := range whole {
		whole[i] ^= 1
		if checkPayload(whole, 0, tmpl, 7, 300) == nil {
			t.Errorf("a wrong byte %d goes unseen", i)
		}
		whole[i] ^= 1
	}
	if checkPayload(whole, 0, tmpl, 7, 301) == nil || checkPayload(whole, 0, tmpl, 8, 300) == nil {
		t.Error("another message goes unseen")
	}
	if checkPayload(append(whole, 0), 0, tmpl, 7, 300) == nil {
		t.Error("a byte too many goes unseen")
	}
	if err := checkPayload(s[:3], 0, template(3), 7, 300); err != nil {
		t.Errorf("a message shorter than its stamp: %v", err)
	}
}
