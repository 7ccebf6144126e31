// Package report is what the operations of the builder tell of their work while they do it.
package report

// Reporter is told what goes on. Its methods are called by several goroutines.
type Reporter interface {
	Phase(name string, total int64) // a phase begins; total bytes, 0 when not known yet
	Expect(bytes int64)             // the phase has more bytes to do
	Advance(bytes int64)            // so many are done; negative when some start over
	Note(text string)               // something the operator should read
}

// Silent takes every report and shows none.
type Silent struct{}

// Phase shows nothing.
func (Silent) Phase(string, int64) {}

// Expect shows nothing.
func (Silent) Expect(int64) {}

// Advance shows nothing.
func (Silent) Advance(int64) {}

// Note shows nothing.
func (Silent) Note(string) {}
