package weir

// Message is one WebSocket message.
type Message struct {
	// Kind is KindText or KindBinary.
	Kind Kind
	// Data is the message. In a message that arrived it is lent until the handler returns: copy what you keep.
	Data []byte
}

// Text makes a text message of a string or of bytes; it must be UTF-8. Bytes are not copied.
func Text[T ~string | ~[]byte](text T) Message { return Message{KindText, []byte(text)} }

// Binary makes a binary message. The bytes are not copied.
func Binary(data []byte) Message { return Message{KindBinary, data} }

// String returns the message's data as a string.
func (m Message) String() string { return string(m.Data) }
