//go:build race

package steps

// raceDetector tells tests that would measure it, or take minutes under it.
const raceDetector = true
