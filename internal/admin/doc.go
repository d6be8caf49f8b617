// Package admin is what a server shows its operator, on a listener of its own:
// its figures for Prometheus, whether it lives, and whether it is ready.
//
// To who has a token it also gives the API of openapi.json: what the server is
// told, and asked, while it runs. The table of routes makes that description. What
// only the owner of the files can do, an Operator does.
//
// Nothing here takes part in serving a connection. The figures are counted by
// who does the work, in fields of its own, and read when somebody asks; every
// one of them is a row of the table in metrics.go, from which docs/metrics.md is made, and
// whose names alone the dashboard and the alert rules may use.
//
// All exported functions may be called from any goroutine.
package admin
