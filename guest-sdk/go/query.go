package weir

import "strings"

// queryValue returns the first value of a parameter of a query. It is net/url's reading of a query, without the size
// that net/url adds to a module; pairs that are badly encoded are skipped.
func queryValue(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if strings.Contains(pair, ";") {
			continue
		}
		if key, ok := unescape(key, true); !ok || key != name {
			continue
		}
		if value, ok := unescape(value, true); ok {
			return value
		}
	}
	return ""
}

// unescape decodes %20, and + as in a query; false if a per cent sign is not followed by two hexadecimal digits.
func unescape(s string, plus bool) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && plus:
			decoded = append(decoded, ' ')
		case s[i] == '%':
			if len(s)-i < 3 {
				return "", false
			}
			high, ok1 := hexDigit(s[i+1])
			low, ok2 := hexDigit(s[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			decoded = append(decoded, high<<4|low)
			i += 2
		default:
			decoded = append(decoded, s[i])
		}
	}
	return string(decoded), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
