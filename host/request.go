package host

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
)

// maxHeaderFields is the most that Options.Server.MaxHeaders may allow.
const maxHeaderFields = 256

// request is one HTTP/1.1 request head, parsed strictly and in place: its slices
// point into the reader's buffer. A turn owns one and uses it again.
type request struct {
	method []byte
	target []byte
	fields []field
}

type field struct{ name, value []byte }

// headEnd returns the length of the head that begins p, its empty line
// included; 0 while it is not whole; -1 if a CR or LF stands alone, since then
// nobody knows where it ends.
func headEnd(p []byte) int {
	for from := 0; ; {
		line := p[from:]
		cr := bytes.IndexByte(line, '\r')
		text := line
		if cr >= 0 {
			text = line[:cr]
		}
		switch {
		case bytes.IndexByte(text, '\n') >= 0:
			return -1
		case cr < 0 || cr == len(line)-1:
			return 0
		case line[cr+1] != '\n':
			return -1
		case cr == 0:
			return from + 2
		}
		from += cr + 2
	}
}

// parse reads a whole head. It takes nothing that RFC 9112 lets a lenient
// server take: what two parsers may read differently is refused. The status is
// 0 if all is well.
func (r *request) parse(head []byte, maxURIBytes, maxFields int) (status int) {
	r.method, r.target, r.fields = nil, nil, r.fields[:0]
	line, rest, ok := cutLine(head)
	if !ok {
		return http.StatusBadRequest
	}
	method, line, ok1 := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(line, []byte(" "))
	if !ok1 || !ok2 || !isToken(method) || len(target) == 0 {
		return http.StatusBadRequest
	}
	if len(target) > maxURIBytes {
		return http.StatusRequestURITooLong
	}
	if !validTarget(target) {
		return http.StatusBadRequest
	}
	if string(version) != "HTTP/1.1" {
		if v, ok := bytes.CutPrefix(version, []byte("HTTP/")); ok && len(v) == 3 && isDigit(v[0]) && v[1] == '.' && isDigit(v[2]) {
			return http.StatusHTTPVersionNotSupported
		}
		return http.StatusBadRequest
	}
	r.method, r.target = method, target
	for {
		line, rest, ok = cutLine(rest)
		if !ok {
			return http.StatusBadRequest
		}
		if len(line) == 0 {
			return 0
		}
		if len(r.fields) == maxFields {
			return http.StatusRequestHeaderFieldsTooLarge
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) { // also obs-fold, and space before the colon
			return http.StatusBadRequest
		}
		value = bytes.Trim(value, " \t")
		for _, b := range value {
			if b < ' ' && b != '\t' || b == 0x7F {
				return http.StatusBadRequest
			}
		}
		r.fields = append(r.fields, field{name, value})
	}
}

// cutLine splits off a line that ends in CRLF and has no other CR or LF.
func cutLine(p []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 1 || p[i-1] != '\r' {
		return nil, nil, false
	}
	line = p[:i-1]
	return line, p[i+1:], bytes.IndexByte(line, '\r') < 0
}

// one returns the value of a field and how often it occurs.
func (r *request) one(name string) (value []byte, n int) {
	for i := range r.fields {
		if equalFold(r.fields[i].name, name) {
			if n == 0 {
				value = r.fields[i].value
			}
			n++
		}
	}
	return value, n
}

// header appends all values of a field to dst, joined by ", ", and counts them.
func (r *request) header(name string, dst []byte) ([]byte, int) {
	n := 0
	for i := range r.fields {
		if equalFold(r.fields[i].name, name) {
			if n > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, r.fields[i].value...)
			n++
		}
	}
	return dst, n
}

// says reports whether the request has these values of these fields.
func (r *request) says(names, values []string) bool {
	for i, name := range names {
		value, n := r.one(name)
		if n > 1 || string(value) != values[i] {
			return false // several are joined: rare enough to be written down anew
		}
	}
	return true
}

// has reports whether a comma-separated field lists token.
func (r *request) has(name, token string) bool {
	for i := range r.fields {
		if !equalFold(r.fields[i].name, name) {
			continue
		}
		for list := r.fields[i].value; len(list) > 0; {
			var item []byte
			item, list, _ = bytes.Cut(list, []byte(","))
			if equalFold(bytes.Trim(item, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// isUpgrade reports that the client wants a WebSocket, rightly or wrongly.
func (r *request) isUpgrade() bool {
	return r.has("Upgrade", "websocket")
}

// checkUpgrade holds the request against RFC 6455 §4.2.1, strictly. The status
// is 0 if all is well.
func (r *request) checkUpgrade() (status int) {
	if string(r.method) != http.MethodGet {
		return http.StatusMethodNotAllowed
	}
	if r.target[0] != '/' {
		return http.StatusBadRequest
	}
	host, n := r.one("Host")
	if n != 1 || !validHost(host) {
		return http.StatusBadRequest
	}
	if upgrade, n := r.one("Upgrade"); n != 1 || !equalFold(upgrade, "websocket") {
		return http.StatusBadRequest
	}
	// One field only: ws.Upgrader wants the token in each.
	if list, n := r.one("Connection"); n != 1 || !isTokenList(list) || !r.has("Connection", "Upgrade") {
		return http.StatusBadRequest
	}
	version, n := r.one("Sec-WebSocket-Version")
	if n != 1 {
		return http.StatusBadRequest
	}
	if string(version) != "13" {
		return http.StatusUpgradeRequired
	}
	if key, n := r.one("Sec-WebSocket-Key"); n != 1 || !validKey(key) {
		return http.StatusBadRequest
	}
	if _, n := r.one("Origin"); n > 1 {
		return http.StatusBadRequest
	}
	for i := range r.fields {
		if equalFold(r.fields[i].name, "Sec-WebSocket-Protocol") && !isTokenList(r.fields[i].value) {
			return http.StatusBadRequest
		}
	}
	// A body would be read as frames.
	if length, n := r.one("Content-Length"); n > 1 || n == 1 && string(length) != "0" {
		return http.StatusBadRequest
	}
	if _, n := r.one("Transfer-Encoding"); n > 0 {
		return http.StatusBadRequest
	}
	return 0
}

// validTarget reports that target has only bytes that a URI may have, as far as
// parsers disagree about the others: no fragment, and in the path no "%" but
// before two digits.
func validTarget(target []byte) bool {
	path, _, _ := bytes.Cut(target, []byte("?"))
	for i, b := range target {
		switch {
		case b <= ' ' || b >= 0x7F || b == '#':
			return false
		case b == '%' && i < len(path) && (len(path)-i < 3 || !isHexDigit(path[i+1]) || !isHexDigit(path[i+2])):
			return false
		}
	}
	return true
}

// validKey reports that key is 16 bytes in base64 (RFC 6455 §4.1).
func validKey(key []byte) bool {
	var raw [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], key)
	return err == nil && n == 16
}

// validHost accepts what RFC 3986 §3.2.2 lets a host be, port included; it does
// not look it up.
func validHost(host []byte) bool {
	if len(host) == 0 {
		return false
	}
	for _, b := range host {
		if b <= ' ' || b >= 0x7F || strings.IndexByte("\"#%/<>?@\\^`{|}", b) >= 0 {
			return false
		}
	}
	return true
}

// isToken reports that s is a token of RFC 9110 §5.6.2.
func isToken[T ~string | ~[]byte](s T) bool {
	if len(s) == 0 {
		return false
	}
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return true
}

// isTokenList reports that s is tokens with commas between them, none missing,
// and spaces but no tabs, which ws.Upgrader does not take for white space.
func isTokenList(s []byte) bool {
	for more := true; more; {
		var item []byte
		if item, s, more = bytes.Cut(s, []byte(",")); !isToken(bytes.Trim(item, " ")) {
			return false
		}
	}
	return true
}

// equalFold compares ASCII without regard to case, and without a conversion.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lowerByte(b[i]) != lowerByte(s[i]) {
			return false
		}
	}
	return true
}

func lowerByte(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

var tokenByte = func() (table [256]bool) {
	for b := range 256 {
		c := byte(b)
		table[b] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	}
	return table
}()

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isHexDigit(b byte) bool {
	return isDigit(b) || lowerByte(b) >= 'a' && lowerByte(b) <= 'f'
}
