package weirtest

import "testing"

// Bench measures how long one text message takes from its client's bytes to the
// bytes of what comes of it: server, sandbox and handler, without a kernel and
// without waiting. Between two messages no virtual time goes by. A message that
// ends the connection fails the benchmark.
func Bench(b *testing.B, message string, with ...Option) {
	b.Helper()
	o := gather(b, with)
	w := newWorld(b, o)
	c := w.Open("bench", o.path)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	replies := 0
	for b.Loop() {
		c.c.SendText(message)
		w.w.Settle()
		replies += len(c.c.Take())
	}
	w.check()
	if c.ended() {
		c.fatal("it is connected", c.end())
	}
	b.ReportMetric(float64(replies)/float64(b.N), "replies/op")
}
