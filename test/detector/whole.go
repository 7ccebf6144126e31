package detector

import "testing"

// Whole skips a test under the race detector that starts so many programs that it would take minutes, and whose code other tests
// run under it. make unit runs it without the detector.
func Whole(t testing.TB) {
	t.Helper()
	if On {
		t.Skip("runs whole without the race detector (UNRACED in the Makefile)")
	}
}
