//go:build !race

// Package detector tells tests whether they run under the race detector: some would measure it, and some take minutes under it.
// Those take a sample there, and make unit runs them whole without it (UNRACED in the Makefile).
package detector

// On is true in a program that was built with -race.
const On = false
