package assemble

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// ScanError is what may have hidden images from the scan: the build stops,
// because a bundle that lacks an image fails where there is no network.
type ScanError struct {
	Dir    string
	Errors []scan.Error
}

func (e *ScanError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "looking for images in %s found %d problems that may hide images (fix them, or go on with --ignore-scan-errors):", e.Dir, len(e.Errors))
	for _, one := range e.Errors {
		b.WriteString("\n  " + one.Error())
	}
	return b.String()
}

// scanAll scans the context once for every way in which its Kubefile reads: ENV,
// CMD and COPY may depend on the platform, and the images with them.
func (b *Builder) scanAll(ctx context.Context, parts []building, ignoreErrors bool) (*scan.Result, error) {
	var all *scan.Result
	for i, part := range parts {
		if slices.ContainsFunc(parts[:i], func(o building) bool { return readsAlike(o.src.file, part.src.file) }) {
			continue
		}
		one, err := b.scan(ctx, part.src, ignoreErrors)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = one
		} else {
			all.Merge(one)
		}
	}
	return all, nil
}

// readsAlike tells whether two readings of a Kubefile give a scan the same to go by.
func readsAlike(x, y *kubefile.File) bool {
	return maps.Equal(x.Env(), y.Env()) && maps.Equal(x.Labels(), y.Labels()) &&
		slices.Equal(x.Cmd(), y.Cmd()) && slices.Equal(x.Entrypoint(), y.Entrypoint()) &&
		reflect.DeepEqual(x.Final(), y.Final()) // what they copy, and from where
}

// scan looks for images in a context, and reports what is worth a look.
func (b *Builder) scan(ctx context.Context, src *buildContext, ignoreErrors bool) (*scan.Result, error) {
	b.report().Phase("scan "+src.dir, 0)
	r, err := scan.Dir(ctx, src.dir, scan.Options{Kubefile: src.file})
	if err != nil {
		return nil, fmt.Errorf("look for images in %s: %w", src.dir, err)
	}
	for _, w := range r.Warnings {
		b.report().Note(at(w.Place) + w.Message)
	}
	if len(r.Errors) > 0 && !ignoreErrors {
		return nil, &ScanError{Dir: src.dir, Errors: r.Errors}
	}
	for _, e := range r.Errors {
		b.report().Note("ignored: " + e.Error())
	}
	return r, nil
}

func at(p scan.Place) string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", p.File, p.Line)
}

// gathered is what a context's references became.
type gathered struct {
	images     []store.Pinned // sorted by reference
	unresolved []store.Found  // suspected, and not to be had
}

// gather fetches what the scan found, for every platform: archives of the
// context first, which need no network, then everything else from the
// registries.
func (b *Builder) gather(ctx context.Context, src *buildContext, found *scan.Result, platforms ...v1.Platform) (gathered, error) {
	o := pull.Options{
		Platforms: platforms,
		Jobs:      b.Jobs,
		System:    b.System,
		Progress:  gathering{b.report()},
	}
	var g gathered
	local := map[string]bool{}
	for _, a := range found.Archives {
		images, err := b.archive(ctx, src, a, o)
		if err != nil {
			return gathered{}, fmt.Errorf("%simage archive: %w", at(a.Place), err)
		}
		for _, p := range images {
			local[p.Ref] = true
		}
		g.images = append(g.images, images...)
	}
	var wanted []pull.Wanted
	for _, f := range found.Images {
		if local[f.Ref] {
			continue // the context itself says what it is
		}
		w := pull.Wanted{Ref: f.Ref, Suspected: f.Certainty == scan.Suspected}
		for _, p := range append([]scan.Place{f.Place}, f.Also...) {
			w.Places = append(w.Places, store.Found{Ref: f.Ref, File: p.File, Line: p.Line, Certainty: string(f.Certainty)})
		}
		wanted = append(wanted, w)
	}
	pulled, err := pull.Gather(ctx, b.Store, wanted, o)
	for _, f := range pulled.Absent {
		b.report().Note("suspected, and not to be had: " + f.String())
		missing := store.Found{Ref: f.Ref, Certainty: string(scan.Suspected)}
		if len(f.Places) > 0 {
			missing = f.Places[0]
		}
		g.unresolved = append(g.unresolved, missing)
	}
	if err != nil {
		return gathered{}, err
	}
	g.images = append(g.images, pulled.Images...)
	slices.SortFunc(g.images, func(x, y store.Pinned) int { return strings.Compare(x.Ref, y.Ref) })
	for _, p := range g.images {
		for _, platform := range platforms {
			if want := pull.Format(platform); !slices.Contains(p.Platforms, want) && len(p.Platforms) > 0 && !sameFamily(p.Platforms, want) {
				b.report().Note(fmt.Sprintf("%s%s is for %s only, the cluster image for %s", at(scan.Place{File: p.File, Line: p.Line}),
					p.Ref, strings.Join(p.Platforms, ", "), want))
			}
		}
	}
	return g, nil
}

// sameFamily tells whether one of have is want with another variant.
func sameFamily(have []string, want string) bool {
	return slices.ContainsFunc(have, func(h string) bool {
		return strings.HasPrefix(h, want+"/") || strings.HasPrefix(want, h+"/")
	})
}

// archive loads the images of one archive of the context.
func (b *Builder) archive(ctx context.Context, src *buildContext, a scan.Archive, o pull.Options) ([]store.Pinned, error) {
	file := pull.Archive{Transport: a.Transport, Path: filepath.Join(src.dir, filepath.FromSlash(a.Path))}
	places := []store.Found{{File: a.File, Line: a.Line, Certainty: string(scan.Certain)}}
	var all []pull.Archive
	if a.Ref != "" {
		file.Wanted = pull.Wanted{Ref: a.Ref, Places: places}
		all = append(all, file)
	} else {
		names, err := pull.ListArchive(file, b.System)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			one := file
			one.Source = n.Source
			one.Wanted = pull.Wanted{Ref: n.Ref, Places: places}
			all = append(all, one)
		}
	}
	var pinned []store.Pinned
	for _, one := range all {
		p, err := pull.LoadArchive(ctx, b.Store, one, o)
		if err != nil {
			return nil, err
		}
		pinned = append(pinned, p)
	}
	return pinned, nil
}
