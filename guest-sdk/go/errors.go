package weir

// Error is a call that the server refused. errors.Is compares its status with ErrClosed, ErrQueueFull and so on.
type Error struct {
	// Func is the host function, as ABI.md calls it.
	Func string
	// Status is the reason.
	Status Status
}

// Error names the function and the reason.
func (e *Error) Error() string { return "weir: " + e.Func + ": " + e.Status.Error() }

// Unwrap returns the status.
func (e *Error) Unwrap() error { return e.Status }

// check makes an error of a negative status.
func check(function string, status int32) error {
	if status >= 0 {
		return nil
	}
	return &Error{function, Status(status)}
}

// checkFound is check for calls that have nothing to do when there is nothing.
func checkFound(function string, status int32) error {
	if Status(status) == ErrNotFound {
		return nil
	}
	return check(function, status)
}
