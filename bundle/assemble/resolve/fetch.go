// Package resolve says which image a reference means on hosts of every platform: it gathers what a search has found into the store,
// out of archives and registries, and settles where references and platforms disagree.
package resolve

import (
	"context"
	"errors"
	"time"

	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Resolver is what resolving needs. Report may not be nil.
type Resolver struct {
	Store  *store.Store
	System *types.SystemContext // registries.conf, auth file, TLS
	Jobs   int                  // downloads at a time; 0 is pull.DefaultJobs
	Report report.Reporter

	Backoff time.Duration // before a request is tried again; 0 is the default of pull.Options

	Offline bool // a tag whose registry cannot be reached means what it meant when it was
	Lenient bool // suspected references that cannot be had are told and left out, whatever the reason
}

// Fetch takes an image out of a registry into the store, of an index the
// given platforms, and returns the full reference that it was found under.
func (r Resolver) Fetch(ctx context.Context, name string, platforms []v1.Platform) (v1.Descriptor, string, error) {
	return r.fetch(ctx, pull.Wanted{Ref: name, Own: true}, platforms)
}

// FetchFiles is Fetch for an image from which files are copied: nobody runs it, so one without an index may be for any platform.
func (r Resolver) FetchFiles(ctx context.Context, name string, platforms []v1.Platform) (v1.Descriptor, string, error) {
	return r.fetch(ctx, pull.Wanted{Ref: name, Own: true, Files: true}, platforms)
}

func (r Resolver) fetch(ctx context.Context, w pull.Wanted, platforms []v1.Platform) (v1.Descriptor, string, error) {
	var failures []error
	name := w.Ref
	for _, ref := range candidates(r.System, name) {
		w.Ref = ref
		got, err := pull.Gather(ctx, r.Store, []pull.Wanted{w}, r.Options(platforms))
		if ctx.Err() != nil {
			return v1.Descriptor{}, "", ctx.Err()
		}
		if err == nil && len(got.Images) == 1 {
			p := got.Images[0]
			return v1.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: p.ManifestSize}, ref, nil
		}
		failures = append(failures, err)
	}
	return v1.Descriptor{}, "", errors.Join(failures...)
}

func (r Resolver) Options(platforms []v1.Platform) pull.Options {
	return pull.Options{
		Platforms: platforms, Jobs: r.Jobs, Backoff: r.Backoff, System: r.System, Progress: r.Report, Offline: r.Offline, Lenient: r.Lenient,
	}
}

// candidates are the full references that a name may mean: registries.conf
// says so for short names, and without it they are Docker Hub's.
func candidates(sys *types.SystemContext, name string) []string {
	if !shortnames.IsShortName(name) {
		return []string{name}
	}
	resolved, err := shortnames.Resolve(sys, name)
	if err != nil || len(resolved.PullCandidates) == 0 {
		return []string{name}
	}
	var all []string
	for _, c := range resolved.PullCandidates {
		all = append(all, c.Value.String())
	}
	return all
}
