//go:build race

package detector

// On is true in a program that was built with -race.
const On = true
