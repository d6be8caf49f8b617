// Package conformance holds every language's SDK to one suite of scenarios. README.md says what the guests do.
package conformance
