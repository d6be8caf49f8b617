package weir

// SetHandler replaces the handler for one test.
func SetHandler(h Handler) { handler, handled = h, true }

// QueryValue is what Conn.Query reads with.
var QueryValue = queryValue
