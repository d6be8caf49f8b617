// Package systemd speaks to the supervisor that has started the process: it finds
// the sockets that were passed (sd_listen_fds(3)) and tells of the service's state
// (sd_notify(3)). Both are small protocols over the environment, which other
// supervisors speak too; nothing here needs systemd to be there.
//
// It never reads the process's own environment, and writes to nobody but the
// supervisor. A [Notifier] may be used from any goroutine.
package systemd
