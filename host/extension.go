package host

import "bytes"

// extensionList walks the value of a Sec-WebSocket-Extensions field by the
// grammar of RFC 6455 §9.1, which ends the handshake for whoever breaks it.
// Empty elements count for nothing (RFC 9110 §5.6.1), but there must be one
// extension. What it returns points into the value.
type extensionList struct {
	rest    []byte
	inItem  bool // an extension has been named: parameters may follow
	items   int
	ended   bool
	broken  bool
	name    []byte // of the extension or parameter that next has found
	value   []byte // of a parameter, unquoted; a token
	valued  bool   // it has one
	isParam bool
}

// next finds the next extension or parameter; false at the end, or where the
// grammar is broken.
func (l *extensionList) next() bool {
	for !l.ended && !l.broken {
		l.space()
		switch {
		case len(l.rest) == 0:
			l.ended = true
			l.broken = l.items == 0
		case l.rest[0] == ',':
			l.rest = l.rest[1:]
			l.inItem = false
		case l.rest[0] == ';' && l.inItem:
			l.rest = l.rest[1:]
			l.space()
			return l.parameter()
		case !l.inItem:
			l.name = l.token()
			l.inItem, l.isParam = true, false
			l.items++
			l.broken = len(l.name) == 0
			return !l.broken
		default:
			l.broken = true
		}
	}
	return false
}

// parameter reads what follows a semicolon.
func (l *extensionList) parameter() bool {
	l.isParam, l.valued, l.value = true, false, nil
	l.name = l.token()
	l.space()
	if len(l.name) > 0 && len(l.rest) > 0 && l.rest[0] == '=' {
		l.rest = l.rest[1:]
		l.space()
		l.valued = true
		if len(l.rest) > 0 && l.rest[0] == '"' {
			l.value = l.quoted()
		} else {
			l.value = l.token()
		}
		l.broken = len(l.value) == 0
	}
	l.broken = l.broken || len(l.name) == 0
	return !l.broken
}

func (l *extensionList) space() { l.rest = bytes.TrimLeft(l.rest, " \t") }

// token cuts a token off; empty when there is none.
func (l *extensionList) token() []byte {
	n := 0
	for n < len(l.rest) && tokenByte[l.rest[n]] {
		n++
	}
	token := l.rest[:n]
	l.rest = l.rest[n:]
	return token
}

// quoted cuts a quoted string off, whose content must be a token too; empty when
// it is not.
func (l *extensionList) quoted() []byte {
	text := l.rest[1:]
	end := bytes.IndexByte(text, '"') // a token has no quotation mark, escaped or not
	if end < 0 {
		return nil
	}
	l.rest = text[end+1:]
	text = text[:end]
	if bytes.IndexByte(text, '\\') >= 0 {
		text = unescape(text)
	}
	if !isToken(text) {
		return nil
	}
	return text
}

// unescape resolves quoted pairs (RFC 9110 §5.6.4).
func unescape(text []byte) []byte {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain = append(plain, text[i])
	}
	return plain
}
