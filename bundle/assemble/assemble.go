// Package assemble is the builder: it makes cluster images out of Kubefiles, gathers every container image they need into the local
// store, and writes bundles from what the store holds.
//
// It promises that nothing is built from a Kubefile with an error in it, that a failing build records nothing, that every reference
// that cannot be had is named with the place it came from, and that a bundle appears under its name only whole and checked. The
// same inputs give the same bytes.
//
// This package and those below it are the only ones that may build images, talk to registries or render charts.
package assemble

import (
	"io"
	"time"

	"github.com/containers/image/v5/types"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Builder holds what every operation needs. All fields but Store may be zero.
type Builder struct {
	Store  *store.Store
	System *types.SystemContext // registries.conf, auth file, TLS
	Jobs   int                  // downloads at a time; 0 is pull.DefaultJobs
	Epoch  time.Time            // every time stamp in images and bundles
	Log    io.Writer            // output of the build itself
	Report Reporter             // nil for silence
}

// Reporter is told what goes on. Its methods are called by several goroutines.
type Reporter interface {
	Phase(name string, total int64) // a phase begins; total bytes, 0 when not known yet
	Expect(bytes int64)             // the phase has more bytes to do
	Advance(bytes int64)            // so many are done; negative when some start over
	Note(text string)               // something the operator should read
}

func (b *Builder) report() Reporter {
	if b.Report == nil {
		return silent{}
	}
	return b.Report
}

func (b *Builder) log() io.Writer {
	if b.Log == nil {
		return io.Discard
	}
	return b.Log
}

type silent struct{}

func (silent) Phase(string, int64) {}
func (silent) Expect(int64)        {}
func (silent) Advance(int64)       {}
func (silent) Note(string)         {}
