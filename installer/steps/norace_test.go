//go:build !race

package steps

// raceEnabled tells that the race detector watches this test.
const raceEnabled = false
