package host

// Close codes of RFC 6455 §7.4.1 and the IANA registry that the server sends or
// reports. 1005 and 1006 never travel: handlers hear them.
const (
	codeNormal      = 1000
	codeGoingAway   = 1001 // the server drains
	codeProtocol    = 1002
	codeNoStatus    = 1005 // the peer's Close frame had no code
	codeAbnormal    = 1006 // the connection ended without a Close frame
	codeInvalidData = 1007 // text that is not UTF-8, messages that cannot be inflated
	codePolicy      = 1008 // floods, slow messages
	codeTooBig      = 1009
	codeInternal    = 1011 // the handler failed
	codeOverloaded  = 1013 // budgets spent, or a reader too slow
)

// cause says why a connection ended; each has one close code, one reason text
// and one counter. This table is the only place that maps them.
type cause uint8

const (
	causeNone cause = iota
	causePeerClosed
	causePeerLost
	causeHandler
	causeOperator
	causeHandlerFailed
	causeUnavailable
	causeBusy
	causeBreaker
	causeProtocol
	causeInvalidUTF8
	causeBadDeflate
	causeTooBig
	causeInflateRatio
	causeTooManyFragments
	causeSlowMessage
	causeControlFlood
	causeFlood
	causeSlowConsumer
	causeInboundBudget
	causeOutboundBudget
	causePingTimeout
	causeIdle
	causeDrain
	causeShutdown
	causeRejected
	causeHandshakeTimeout
	causeHTTP
	causeTLS
	causes // how many there are
)

var causeTable = [causes]struct {
	label  string // in counters and logs
	code   uint16
	reason string
}{
	causeNone:             {"none", 0, ""},
	causePeerClosed:       {"peer_closed", 0, ""},
	causePeerLost:         {"peer_lost", codeAbnormal, ""},
	causeHandler:          {"handler", 0, ""},
	causeOperator:         {"operator", 0, ""},
	causeHandlerFailed:    {"handler_failed", codeInternal, "handler failed"},
	causeUnavailable:      {"handler_unavailable", codeOverloaded, "try again later"},
	causeBusy:             {"handler_busy", codeOverloaded, "handlers are busy"},
	causeBreaker:          {"handler_broken", codeOverloaded, "handler keeps failing"},
	causeProtocol:         {"protocol_error", codeProtocol, "protocol error"},
	causeInvalidUTF8:      {"invalid_utf8", codeInvalidData, "text is not UTF-8"},
	causeBadDeflate:       {"invalid_deflate", codeInvalidData, "message cannot be inflated"},
	causeTooBig:           {"message_too_big", codeTooBig, "message too big"},
	causeInflateRatio:     {"inflate_ratio", codeTooBig, "message inflates too much"},
	causeTooManyFragments: {"too_many_fragments", codePolicy, "too many fragments"},
	causeSlowMessage:      {"slow_message", codePolicy, "message took too long"},
	causeControlFlood:     {"control_flood", codePolicy, "too many control frames"},
	causeFlood:            {"inbound_flood", codePolicy, "too many messages"},
	causeSlowConsumer:     {"slow_consumer", codeOverloaded, "reads too slowly"},
	causeInboundBudget:    {"inbound_budget", codeOverloaded, "server is short of memory"},
	causeOutboundBudget:   {"outbound_budget", codeOverloaded, "server is short of memory"},
	causePingTimeout:      {"ping_timeout", codeAbnormal, ""},
	causeIdle:             {"idle", codeAbnormal, ""},
	causeDrain:            {"drain", codeGoingAway, "server is going away"},
	causeShutdown:         {"shutdown", codeGoingAway, "server is going away"},
	causeRejected:         {"rejected", 0, ""},
	causeHandshakeTimeout: {"handshake_timeout", 0, ""},
	causeHTTP:             {"http", 0, ""},
	causeTLS:              {"tls", 0, ""},
}

// String is the label in counters and logs.
func (c cause) String() string { return causeTable[c].label }

// info is how a connection ends for that cause.
func (c cause) info() closeInfo {
	row := &causeTable[c]
	return closeInfo{code: row.code, reason: row.reason, cause: c}
}

// mayReceive reports whether a peer's Close frame may carry code (RFC 6455
// §7.4, IANA registry): 1004–1006 and 1015 are reserved, 1016–2999 undefined.
func mayReceive(code uint16) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code >= 1000 && code <= 1014:
		return code < 1004 || code > 1006
	default:
		return false
	}
}

// mayHandlerSend reports whether a handler may close with code.
func mayHandlerSend(code int32) bool {
	switch code {
	case codeNormal, codeGoingAway, codePolicy, codeInternal, 1012, codeOverloaded:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}
