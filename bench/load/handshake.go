package load

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// handshakeKeys is how many different keys the connections of a run offer.
const handshakeKeys = 64

// maxResponseBytes bounds the answer to a handshake.
const maxResponseBytes = 4 << 10

// handshake is one request and the accept key that answers it.
type handshake struct {
	request []byte
	accept  []byte
}

// handshakes prepares requests with different keys, so that no connection pays
// for making one.
func handshakes(host, path string, deflate bool) []handshake {
	offer := ""
	if deflate {
		offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
	}
	all := make([]handshake, handshakeKeys)
	for i := range all {
		var nonce [16]byte
		binary.BigEndian.PutUint64(nonce[:], 0x9e3779b97f4a7c15*uint64(i+1))
		binary.BigEndian.PutUint64(nonce[8:], 0xbf58476d1ce4e5b9*uint64(i+1))
		key := base64.StdEncoding.EncodeToString(nonce[:])
		all[i] = handshake{
			request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, host, key, offer),
			accept:  acceptKey(key),
		}
	}
	return all
}

// acceptKey answers a key as RFC 6455 §4.2.2 says.
func acceptKey(key string) []byte {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

var (
	headerEnd   = []byte("\r\n\r\n")
	statusOK    = []byte("HTTP/1.1 101 ")
	statusBusy  = []byte("HTTP/1.1 503 ")
	acceptName  = []byte("Sec-WebSocket-Accept")
	upgradeName = []byte("Upgrade")
	websocket   = []byte("websocket")
)

// checkResponse looks for a complete answer at the start of p and returns its
// length; 0 and no error mean that more bytes are needed.
func checkResponse(p, accept []byte) (int, error) {
	end := bytes.Index(p, headerEnd)
	if end < 0 {
		if len(p) > maxResponseBytes {
			return 0, fmt.Errorf("load: handshake answer of more than %d bytes", maxResponseBytes)
		}
		return 0, nil
	}
	status, head, _ := bytes.Cut(p[:end+2], []byte("\r\n"))
	if !bytes.HasPrefix(status, statusOK) {
		if bytes.HasPrefix(status, statusBusy) {
			return 0, fmt.Errorf("load: handshake answered with %q: %w", status, errClosed)
		}
		return 0, fmt.Errorf("load: handshake answered with %q", status)
	}
	var accepted, upgraded bool
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, fmt.Errorf("load: handshake answered with header line %q", line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, acceptName):
			accepted = bytes.Equal(value, accept)
		case bytes.EqualFold(name, upgradeName):
			upgraded = bytes.EqualFold(value, websocket)
		}
	}
	if !accepted || !upgraded {
		return 0, fmt.Errorf("load: handshake answered without the right accept key (%t) or upgrade (%t)", accepted, upgraded)
	}
	return end + len(headerEnd), nil
}
