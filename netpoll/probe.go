//go:build linux || darwin

package netpoll

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// probe is a socket pair whose one end a shard watches. Its descriptors are kept:
// a process that has run out of them is not one that hangs.
type probe struct {
	shard *shard
	near  int
	far   int           // what is written here
	heard chan struct{} // capacity 1: the shard may answer after nobody waits any more
}

func (p *rawPoller) probe(ctx context.Context) error {
	p.probing.Lock()
	defer p.probing.Unlock()
	if p.closed.Load() {
		return ErrClosed
	}
	for len(p.probes) < len(p.shards) {
		pr, err := openProbe(p.shards[len(p.probes)])
		if err != nil {
			return err
		}
		p.probes = append(p.probes, pr)
	}
	for _, pr := range p.probes {
		select {
		case <-pr.heard: // of a call that did not wait for it
		default:
		}
		// No room means that none of many events was told of yet.
		if _, err := unix.Write(pr.far, []byte{0}); err != nil && err != unix.EAGAIN {
			return os.NewSyscallError("write", err)
		}
	}
	for i, pr := range p.probes {
		select {
		case <-pr.heard:
		case <-ctx.Done():
			return fmt.Errorf("shard %d: %w", i, ctx.Err())
		}
	}
	return nil
}

func openProbe(sh *shard) (*probe, error) {
	pr := &probe{shard: sh, heard: make(chan struct{}, 1)}
	if err := pr.openPair(); err != nil {
		return nil, err
	}
	if err := sh.add(pr.near, pr); err != nil {
		pr.closePair()
		return nil, err
	}
	return pr, nil
}

// ready runs on the shard's goroutine.
func (pr *probe) ready(Event) {
	var some [64]byte
	for {
		if n, err := unix.Read(pr.near, some[:]); err != unix.EINTR && n < len(some) {
			break
		}
	}
	select {
	case pr.heard <- struct{}{}:
	default:
	}
}

// openPair makes the pair, non-blocking and close-on-exec.
func (pr *probe) openPair() error {
	syscall.ForkLock.RLock() // nobody may fork before the marks are set
	defer syscall.ForkLock.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	pr.near, pr.far = pair[0], pair[1]
	for _, fd := range pair {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			pr.closePair()
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

func (pr *probe) closePair() {
	unix.Close(pr.near)
	unix.Close(pr.far)
}
