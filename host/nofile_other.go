//go:build !unix

package host

func defaultMaxConnections() int { return 65_536 }
