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
	"context"
	"io"
	"time"

	"github.com/containers/image/v5/types"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Builder holds what every operation needs. All fields but Store may be zero.
type Builder struct {
	Store   *store.Store
	System  *types.SystemContext // registries.conf, auth file, TLS
	Jobs    int                  // downloads at a time; 0 is pull.DefaultJobs
	Epoch   time.Time            // every time stamp in images and bundles
	Backoff time.Duration        // before a registry is asked again; 0 is one second
	Log     io.Writer            // output of the build itself
	Report  report.Reporter      // nil for silence

	offline bool // tags whose registry cannot be reached mean what they meant when it was
}

func (b *Builder) report() report.Reporter {
	if b.Report == nil {
		return report.Silent{}
	}
	return b.Report
}

func (b *Builder) log() io.Writer {
	if b.Log == nil {
		return io.Discard
	}
	return b.Log
}

func (b *Builder) resolver() resolve.Resolver {
	return resolve.Resolver{Store: b.Store, System: b.System, Jobs: b.Jobs, Report: b.report(), Offline: b.offline, Backoff: b.Backoff}
}

// Measure asks registries how large the images are that the looks name, and brings none of them.
func (b *Builder) Measure(ctx context.Context, looks []search.Look) (pull.Measured, error) {
	return b.resolver().Measure(ctx, looks)
}
