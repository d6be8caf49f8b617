package runtime

// Host is what the guest of one call reaches beyond its sandbox. The package host implements it.
//
// Its methods are called on the goroutine of [Instance.Call], one at a time, only until that Call returns. Slices
// that they receive are guest memory, lent until the method returns; slices that they return are copied before the
// next method is called, and stay the Host's. No method may block, or use the Instance of the call. Numbers and texts
// come from the guest unchecked; only pointers and capabilities have been.
//
// A result of type [Status] is negative for an error. A panic is not recovered.
type Host interface {
	// ConnSend queues a message for a connection. kind is KindText or KindBinary, or else invalid.
	ConnSend(conn uint64, kind int32, p []byte) Status
	// ConnClose closes a connection.
	ConnClose(conn uint64, code int32, reason []byte) Status
	// ConnAttr reads what is known of a connection.
	ConnAttr(conn uint64, name []byte) ([]byte, Status)
	// ConnStateGet reads a connection's attachment.
	ConnStateGet(conn uint64) ([]byte, Status)
	// ConnStateSet replaces a connection's attachment.
	ConnStateSet(conn uint64, p []byte) Status
	// ConnQueued returns how many bytes wait for the socket, or a negative Status.
	ConnQueued(conn uint64) int64

	// TopicJoin makes a connection a member of a topic.
	TopicJoin(conn uint64, topic []byte) Status
	// TopicLeave ends a membership.
	TopicLeave(conn uint64, topic []byte) Status
	// TopicPublish sends a message to the members of a topic but except; 0 excepts nobody.
	TopicPublish(topic []byte, kind int32, p []byte, except uint64) Status
	// TopicCount returns the number of members, or a negative Status.
	TopicCount(topic []byte) int32

	// TimerSet sets a timer of a connection, or of the module if conn is 0. everyMs 0 means once.
	TimerSet(conn uint64, id, afterMs, everyMs int64) Status
	// TimerCancel cancels a timer.
	TimerCancel(conn uint64, id int64) Status

	// TimeUnixMs returns the time of day, the same throughout a call.
	TimeUnixMs() int64
	// TimeMonoNs returns a time that never goes back, the same throughout a call and at least 0.
	TimeMonoNs() int64

	// MetricAdd adds to a metric.
	MetricAdd(name []byte, delta int64) Status

	// UpgradeURI reads path and query of the request.
	UpgradeURI() ([]byte, Status)
	// UpgradeHeader reads a header of the request.
	UpgradeHeader(name []byte) ([]byte, Status)
	// UpgradeProtocol picks a subprotocol.
	UpgradeProtocol(name []byte) Status
	// UpgradeRespondHeader adds a header to the response.
	UpgradeRespondHeader(name, value []byte) Status

	// StateSave takes an instance's state for the one that takes over.
	StateSave(p []byte) Status
	// InstanceKey returns what the instance is for.
	InstanceKey() ([]byte, Status)
}
