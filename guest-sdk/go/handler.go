package weir

import (
	"errors"
	"time"
)

// Handler is what a module does on each event. Functions that are nil are not called: the server does not even enter
// the module. An error throws away what the call asked for; the package comment says more.
type Handler struct {
	// Init is told the module's configuration, once per instance and before anything else. config is JSON, {} when
	// there is none, and is lent until Init returns. An error refuses the module: the one before it stays in service.
	Init func(config []byte) error

	// Upgrade decides whether a client may connect. nil accepts; what Reject returns rejects with a status; any other
	// error rejects with 500. Without it everybody may.
	Upgrade func(u *Upgrade) error

	// Open is the first event of a connection.
	Open func(c Conn) error

	// Message is a whole message. m.Data is lent until Message returns.
	Message func(c Conn, m Message) error

	// Close is the last event of a connection, exactly once. c cannot be sent to any more and has left its topics; its
	// attributes and its state can still be read, and publishing works.
	Close func(c Conn, why Closed) error

	// Timer is due. c is None for a timer of the module.
	Timer func(c Conn, id int64) error

	// Drain says that the server goes down in about the given time. It comes for each connection, and once with None.
	Drain func(c Conn, left time.Duration) error

	// Save returns the instance's state for the one that takes over from it; nil is none. It is the last event of an
	// instance of the scope connection, key or singleton whose module is replaced. The state is copied, at most 1 MiB.
	// An error keeps the old version.
	Save func() (state []byte, err error)

	// Restore is given what Save has returned in the instance of the generation before. It comes after Init and
	// before anything else; state is lent until it returns. An error keeps the old version.
	Restore func(state []byte, savedBy uint64) error
}

// Closed says how a connection ended.
type Closed struct {
	// Code is the close code: 1005 when the peer gave none, 1006 when the connection broke.
	Code int
	// Reason is what the peer said about it; often empty.
	Reason string
	// Clean is true when close frames went both ways.
	Clean bool
}

// Handle makes h the module's handler. It is called once, in an init function: a module built as a reactor has no
// main that runs.
func Handle(h Handler) {
	if handled {
		panic("weir: Handle was called twice")
	}
	handler, handled = h, true
}

var (
	handler Handler
	handled bool
)

// generation of this instance, known from its init event on.
var generation uint64

// Generation returns which version of the module this is: 1 for the first that was loaded under its name, then one
// more for each. It is known from Init on.
func Generation() uint64 { return generation }

// handles returns the set of events that the handler wants, one bit each.
func handles() uint64 {
	set := uint64(1) << eventInit // for Generation
	for event, wanted := range [...]bool{
		eventUpgrade: handler.Upgrade != nil,
		eventOpen:    handler.Open != nil,
		eventText:    handler.Message != nil,
		eventBinary:  handler.Message != nil,
		eventClose:   handler.Close != nil,
		eventTimer:   handler.Timer != nil,
		eventDrain:   handler.Drain != nil,
		eventSave:    handler.Save != nil,
		eventRestore: handler.Restore != nil,
	} {
		if wanted {
			set |= 1 << event
		}
	}
	return set
}

// cleanBit marks the code of a close event whose close frames went both ways.
const cleanBit = 1 << 16

// dispatch hands one event to the handler. payload is lent to it. The result is what the host gets: 0 commits.
// A panic is left alone: in a guest the Go runtime prints it and traps, natively it reaches the test.
func dispatch(event int32, conn uint64, arg int64, payload []byte) int32 {
	c := Conn(conn)
	var err error
	switch event {
	case eventText:
		err = handler.Message(c, Message{KindText, payload})
	case eventBinary:
		err = handler.Message(c, Message{KindBinary, payload})
	case eventOpen:
		err = handler.Open(c)
	case eventClose:
		err = handler.Close(c, Closed{Code: int(arg &^ cleanBit), Reason: string(payload), Clean: arg&cleanBit != 0})
	case eventTimer:
		err = handler.Timer(c, arg)
	case eventDrain:
		err = handler.Drain(c, time.Duration(arg)*time.Millisecond)
	case eventUpgrade:
		err = handler.Upgrade(&Upgrade{conn: c})
		var rejection rejection
		if errors.As(err, &rejection) {
			return int32(rejection)
		}
	case eventSave:
		var state []byte
		if state, err = handler.Save(); err == nil && state != nil {
			err = check("state_save", stateSave(lend(state)))
		}
	case eventRestore:
		err = handler.Restore(payload, uint64(arg))
	case eventInit:
		generation = uint64(arg)
		if handler.Init != nil {
			err = handler.Init(payload)
		}
	}
	if err == nil {
		return 0
	}
	Log(LevelError, eventNames[event]+": "+err.Error())
	if event == eventUpgrade {
		return 500
	}
	return 1
}
