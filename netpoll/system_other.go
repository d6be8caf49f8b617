//go:build !linux && !darwin

package netpoll

// Systems without a poller of their own here run on the reference.
type (
	sysPoller   = refPoller
	sysListener = refListener
	sysSocket   = refSocket
)

func openSys(o Options) (*refPoller, error) { return openRef(o) }
