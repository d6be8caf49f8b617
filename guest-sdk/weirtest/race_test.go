//go:build race

package weirtest

// raceDetector says that the tests run under the race detector.
const raceDetector = true
