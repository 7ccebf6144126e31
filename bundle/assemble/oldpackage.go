package assemble

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/types"

	"github.com/sealbuild/sealbuild/bundle/assemble/oldpackage"
)

// OldPackage makes a Kubefile, in the directory scratch, of an offline package of the kind that came before cluster images, packed
// or not. It is nil without an error if r names a Kubefile, or its context is something else. The problems are in r's terms: what
// stands in the way of installing the package on r's platforms.
func OldPackage(ctx context.Context, r *BuildRequest, scratch string, sys *types.SystemContext) (made *oldpackage.Made, problems []string, err error) {
	if r.Kubefile != "" {
		return nil, nil, nil
	}
	made, err = oldpackage.Make(ctx, r.Context, scratch, sys)
	if err != nil || made == nil {
		return nil, nil, err
	}
	r.Context, r.Kubefile, r.Exclude = made.Dir, made.Kubefile, made.Excluded(r.Exclude)
	return made, made.For(r.Platforms), nil
}

// carry makes the request one with a Kubefile if its context is an older offline package, and tells what becomes of that.
func (b *Builder) carry(ctx context.Context, r *BuildRequest) (carried bool, err error) {
	scratch, err := b.Store.TempDir("package")
	if err != nil {
		return false, err
	}
	given := r.Context
	made, problems, err := OldPackage(ctx, r, scratch, b.System)
	if err != nil || made == nil {
		return false, err
	}
	for _, n := range made.Notes {
		b.report().Note(n)
	}
	if len(problems) > 0 {
		return false, fmt.Errorf("make a cluster image of the offline package %s: %w", given, errors.New(strings.Join(problems, "; ")))
	}
	b.report().Note(given + " is an offline package of the older kind: sealbuild plan shows the Kubefile that is made of it")
	return true, nil
}
