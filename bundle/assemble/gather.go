package assemble

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
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

// scan looks for images in a context as it is for every platform: what the
// Kubefile copies and sets may depend on it. It reports what is worth a look.
func (b *Builder) scan(ctx context.Context, parts []building, r BuildRequest) ([]look, error) {
	dir := parts[0].src.dir
	b.report().Phase("scan "+dir, 0)
	var looks []look
	var results []*scan.Result
	for _, part := range parts {
		found, err := scan.Dir(ctx, dir, part.src.file, r.Env...)
		if err != nil {
			return nil, fmt.Errorf("look for images in %s: %w", dir, err)
		}
		looks = append(looks, look{dir: dir, found: found, platform: part.platform})
		results = append(results, found)
	}
	all := scan.Union(results...)
	for _, w := range all.Warnings {
		b.report().Note(at(w.Place) + w.Message)
	}
	return looks, b.scanned(dir, all.Errors, r.IgnoreScanErrors)
}

// scanned fails when something may have hidden images.
func (b *Builder) scanned(dir string, errors []scan.Error, ignore bool) error {
	if len(errors) > 0 && !ignore {
		return &ScanError{Dir: dir, Errors: errors}
	}
	for _, e := range errors {
		b.report().Note("ignored: " + e.Error())
	}
	return nil
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

// look is what was found in a directory for one platform.
type look struct {
	dir      string
	found    *scan.Result
	platform v1.Platform
}

// gathered is what references became.
type gathered struct {
	claims     []claim
	wanted     map[string][]string // platforms of a reference
	unresolved []store.Found       // suspected, and not to be had
}

// add joins what was gathered for one image. level is that of more.
func (g *gathered) add(more gathered, level int) {
	for _, c := range more.claims {
		c.level += level
		g.claims = append(g.claims, c)
	}
	for _, f := range more.unresolved {
		if !slices.ContainsFunc(g.unresolved, func(o store.Found) bool { return o.Ref == f.Ref }) {
			g.unresolved = append(g.unresolved, f)
		}
	}
	if g.wanted == nil {
		g.wanted = map[string][]string{}
	}
	for ref, platforms := range more.wanted {
		g.wanted[ref] = append(g.wanted[ref], platforms...)
		slices.Sort(g.wanted[ref])
		g.wanted[ref] = slices.Compact(g.wanted[ref])
	}
}

// gather fetches what the scans found, each for its platform: archives of the context first, which need no network, then everything
// else from the registries.
func (b *Builder) gather(ctx context.Context, looks []look) (gathered, error) {
	g := gathered{wanted: map[string][]string{}}
	local, err := b.gatherArchives(ctx, looks, &g)
	if err != nil {
		return gathered{}, err
	}
	var platforms []v1.Platform
	for _, l := range looks {
		platforms = append(platforms, l.platform)
	}
	wanted := wantedBy(looks, local)
	var unserved []error
	for _, w := range wanted {
		unserved = append(unserved, servable(w.Ref, w.Places...))
	}
	if err := errors.Join(unserved...); err != nil {
		return gathered{}, err
	}
	for _, w := range wanted {
		for _, p := range w.Platforms {
			g.wanted[w.Ref] = append(g.wanted[w.Ref], store.Platform(p))
		}
	}
	pulled, err := pull.Gather(ctx, b.Store, wanted, b.pullOptions(platforms))
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
	g.claims = append(g.claims, claims(pulled.Images, platforms, 0)...)
	return g, nil
}

// servable refuses a reference that no host could pull at the site: registries there keep what has a digest of sha256.
func servable(ref string, places ...store.Found) error {
	_, pin, pinned := strings.Cut(ref, "@")
	if !pinned || strings.HasPrefix(pin, "sha256:") {
		return nil
	}
	where := ""
	if len(places) > 0 {
		where = at(scan.Place{File: places[0].File, Line: places[0].Line})
	}
	return fmt.Errorf("%s%s: no host can pull it from the site's registry, which keeps images by sha256: pin it by its digest of sha256", where, ref)
}

// wantedBy lists what is to be pulled for which platforms. local holds, by
// platform, what need not be: the context itself says what it is.
func wantedBy(looks []look, local map[string]map[string]bool) []pull.Wanted {
	var results []*scan.Result
	for _, l := range looks {
		results = append(results, l.found)
	}
	var wanted []pull.Wanted
	for _, f := range scan.Union(results...).Images {
		w := pull.Wanted{Ref: f.Ref, Suspected: f.Certainty == scan.Suspected}
		for _, p := range append([]scan.Place{f.Place}, f.Also...) {
			w.Places = append(w.Places, store.Found{Ref: f.Ref, File: p.File, Line: p.Line, Certainty: string(f.Certainty)})
		}
		for _, l := range looks {
			named := slices.ContainsFunc(l.found.Images, func(o scan.Found) bool { return o.Ref == f.Ref })
			if named && !local[store.Platform(l.platform)][f.Ref] {
				w.Platforms = append(w.Platforms, l.platform)
			}
		}
		if len(w.Platforms) > 0 {
			wanted = append(wanted, w)
		}
	}
	return wanted
}

// noteForeign tells of images that hosts of a platform cannot run.
func (b *Builder) noteForeign(images []store.Pinned, g gathered) {
	for _, p := range images {
		for _, want := range g.wanted[p.Ref] {
			if !slices.Contains(p.Platforms, want) && len(p.Platforms) > 0 && !sameFamily(p.Platforms, want) {
				b.report().Note(fmt.Sprintf("%s%s is for %s only, the cluster image for %s", at(scan.Place{File: p.File, Line: p.Line}),
					p.Ref, strings.Join(p.Platforms, ", "), want))
			}
		}
	}
}

// sameFamily tells whether one of have is want with another variant.
func sameFamily(have []string, want string) bool {
	return slices.ContainsFunc(have, func(h string) bool {
		return strings.HasPrefix(h, want+"/") || strings.HasPrefix(want, h+"/")
	})
}

// gatherArchives loads the image archives that the looks found, each once, and
// returns by platform the references that need not be pulled because of them.
func (b *Builder) gatherArchives(ctx context.Context, looks []look, g *gathered) (map[string]map[string]bool, error) {
	type file struct {
		dir string
		scan.Archive
	}
	var files []file
	of := map[file][]v1.Platform{}
	for _, l := range looks {
		for _, a := range l.found.Archives {
			f := file{l.dir, a}
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
			of[f] = append(of[f], l.platform)
		}
	}
	local := map[string]map[string]bool{}
	for _, f := range files {
		loaded, err := b.archive(ctx, f.dir, f.Archive, of[f])
		if err != nil {
			return nil, fmt.Errorf("%simage archive: %w", at(f.Place), err)
		}
		for _, platform := range of[f] {
			name := store.Platform(platform)
			if local[name] == nil {
				local[name] = map[string]bool{}
			}
			for _, c := range loaded {
				if !local[name][c.Ref] {
					g.wanted[c.Ref] = append(g.wanted[c.Ref], name)
				}
				local[name][c.Ref] = true
			}
		}
		g.claims = append(g.claims, loaded...)
	}
	return local, nil
}

// archive loads the images of one archive, for every platform it has.
func (b *Builder) archive(ctx context.Context, dir string, a scan.Archive, platforms []v1.Platform) ([]claim, error) {
	file := pull.Archive{Transport: a.Transport, Path: filepath.Join(dir, filepath.FromSlash(a.Path))}
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
	var loaded []claim
	for _, one := range all {
		for i := range platforms {
			if i > 0 && one.Transport == "docker-archive" {
				break // holds one image under a name
			}
			p, err := pull.LoadArchive(ctx, b.Store, one, b.pullOptions(platforms[i:i+1]))
			if err != nil {
				return nil, err
			}
			known := slices.ContainsFunc(loaded, func(c claim) bool { return c.Ref == p.Ref && c.Digest == p.Digest })
			if !known {
				loaded = append(loaded, claims([]store.Pinned{p}, platforms, 0)...)
			}
		}
	}
	return loaded, nil
}
