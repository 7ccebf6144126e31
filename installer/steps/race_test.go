//go:build race

package steps

// raceDetector is true for tests that would measure the race detector, or take minutes under it.
const raceDetector = true
