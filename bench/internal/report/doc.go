// Package report holds what the harness measured and turns it into what people
// read: Markdown tables, the verdict on each bar, a chart. It measures nothing
// and writes no file. Any goroutine, as long as one at a time changes Results.
package report
