// Package proc asks the Linux kernel what another process has cost so far: CPU
// time in nanoseconds, resident memory, context switches.
//
// The clock of record is the process's CPU clock ([CPUTime]): the sum of the
// run time of every thread, dead ones included, to the nanosecond and up to
// this very moment. /proc/PID/task/*/schedstat holds the same sum per living
// thread as of its last tick ([SchedCPU]); /proc/PID/stat holds it in ticks of
// 10 ms, split into user and system ([Stat]). The harness takes the first and
// checks it against the second.
//
// On a kernel without CONFIG_IRQ_TIME_ACCOUNTING, time spent in interrupts and
// in softirqs is charged to whoever was running. On loopback that is mostly
// right, since a send delivers its own segment, but some of it is work done on
// behalf of others, and is noise.
//
// Nothing here may change the process it looks at. Every function may be called
// from any goroutine.
package proc
