//go:build race

package guestsdk_test

const underRace = true
