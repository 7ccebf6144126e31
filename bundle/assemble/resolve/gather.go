package resolve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Gathered is what references became.
type Gathered struct {
	Claims     []Claim
	wanted     map[string][]string // platforms of a reference
	Unresolved []store.Found       // suspected, and not to be had
	Charts     *store.Charts       // for which Kubernetes charts were rendered
	Registry   bool                // a layer holds container images
}

// Add joins what was gathered for one image. level is that of more.
func (g *Gathered) Add(more Gathered, level int) {
	for _, c := range more.Claims {
		c.Level += level
		g.Claims = append(g.Claims, c)
	}
	for _, f := range more.Unresolved {
		if !slices.ContainsFunc(g.Unresolved, func(o store.Found) bool { return o.Ref == f.Ref }) {
			g.Unresolved = append(g.Unresolved, f)
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

// Gather fetches what the scans found, each for its platform: archives of the context first, which need no network, then everything
// else from the registries.
func (r Resolver) Gather(ctx context.Context, looks []search.Look) (Gathered, error) {
	g := Gathered{wanted: map[string][]string{}}
	local, err := r.archives(ctx, looks, &g)
	if err != nil {
		return Gathered{}, err
	}
	var platforms []v1.Platform
	for _, l := range looks {
		platforms = append(platforms, l.Platform)
	}
	wanted := wantedBy(looks, local)
	var unserved []error
	for _, w := range wanted {
		unserved = append(unserved, servable(w.Ref, w.Places...))
	}
	if err := errors.Join(unserved...); err != nil {
		return Gathered{}, err
	}
	for _, w := range wanted {
		for _, p := range w.Platforms {
			g.wanted[w.Ref] = append(g.wanted[w.Ref], store.Platform(p))
		}
	}
	pulled, err := pull.Gather(ctx, r.Store, wanted, r.Options(platforms))
	for _, f := range pulled.Absent {
		r.Report.Note("suspected, and not to be had: " + f.String())
		missing := store.Found{Ref: f.Ref, Certainty: string(scan.Suspected)}
		if len(f.Places) > 0 {
			missing = f.Places[0]
		}
		g.Unresolved = append(g.Unresolved, missing)
	}
	if err != nil {
		return Gathered{}, err
	}
	g.Claims = append(g.Claims, Claims(pulled.Images, platforms, 0)...)
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
		where = search.At(scan.Place{File: places[0].File, Line: places[0].Line})
	}
	return fmt.Errorf("%s%s: no host can pull it from the site's registry, which keeps images by sha256: pin it by its digest of sha256", where, ref)
}

// wantedBy lists what is to be pulled for which platforms. local holds, by
// platform, what need not be: the context itself says what it is.
func wantedBy(looks []search.Look, local map[string]map[string]bool) []pull.Wanted {
	var results []*scan.Result
	for _, l := range looks {
		results = append(results, l.Found)
	}
	var wanted []pull.Wanted
	for _, f := range scan.Union(results...).Images {
		w := pull.Wanted{Ref: f.Ref, Suspected: f.Certainty == scan.Suspected}
		for _, p := range append([]scan.Place{f.Place}, f.Also...) {
			w.Places = append(w.Places, store.Found{Ref: f.Ref, File: p.File, Line: p.Line, Certainty: string(f.Certainty)})
		}
		for _, l := range looks {
			named := slices.ContainsFunc(l.Found.Images, func(o scan.Found) bool { return o.Ref == f.Ref })
			if named && !local[store.Platform(l.Platform)][f.Ref] {
				w.Platforms = append(w.Platforms, l.Platform)
			}
		}
		if len(w.Platforms) > 0 {
			wanted = append(wanted, w)
		}
	}
	return wanted
}

// NoteForeign tells of images that hosts of a platform may not be able to run.
func (r Resolver) NoteForeign(images []store.Pinned, g Gathered) {
	for _, p := range images {
		for _, want := range g.wanted[p.Ref] {
			if slices.Contains(p.Platforms, unsaid) {
				r.Report.Note(fmt.Sprintf("%s%s does not say for which platform it is: it is taken for %s", search.At(scan.Place{File: p.File, Line: p.Line}),
					p.Ref, want))
			}
		}
	}
}

// archives loads the image archives that the looks found, each once, and
// returns by platform the references that need not be pulled because of them.
func (r Resolver) archives(ctx context.Context, looks []search.Look, g *Gathered) (map[string]map[string]bool, error) {
	type file struct {
		dir string
		scan.Archive
	}
	var files []file
	of := map[file][]v1.Platform{}
	for _, l := range looks {
		for _, a := range l.Found.Archives {
			f := file{l.Dir, a}
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
			of[f] = append(of[f], l.Platform)
		}
	}
	local := map[string]map[string]bool{}
	var misses []miss
	for _, f := range files {
		loaded, missed, err := r.archive(ctx, f.dir, f.Archive, of[f])
		if err != nil {
			return nil, fmt.Errorf("%simage archive: %w", search.At(f.Place), err)
		}
		misses = append(misses, missed...)
		for _, c := range loaded {
			for _, name := range c.Of {
				if local[name] == nil {
					local[name] = map[string]bool{}
				}
				if !local[name][c.Ref] {
					g.wanted[c.Ref] = append(g.wanted[c.Ref], name)
				}
				local[name][c.Ref] = true
			}
		}
		g.Claims = append(g.Claims, loaded...)
	}
	failed := []error{twice(g.Claims)}
	for _, m := range misses {
		if !local[m.platform][m.Ref] { // no other archive has it either
			failed = append(failed, m)
		}
	}
	return local, errors.Join(failed...)
}

// miss is an image of an archive that is not for one of the platforms.
type miss struct {
	pull.Failure
	platform string
}

func (m miss) Error() string { return "image archive: " + m.String() }
func (m miss) Unwrap() error { return m.Err }

// archive loads the images of one archive, for every platform it has, and tells for which it has none.
func (r Resolver) archive(ctx context.Context, dir string, a scan.Archive, platforms []v1.Platform) (loaded []Claim, misses []miss, err error) {
	scratch, err := r.Store.TempDir("plain")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	plain, err := plainArchive(ctx, scratch, filepath.Join(dir, filepath.FromSlash(a.Path)))
	if err != nil {
		return nil, nil, err
	}
	all, err := r.held(a, plain)
	if err != nil {
		return nil, nil, err
	}
	for _, one := range all {
		var docker store.Pinned // the one image that it holds under a name
		for i, platform := range platforms {
			name := store.Platform(platform)
			p := docker
			if p.Digest == "" {
				p, err = pull.LoadArchive(ctx, r.Store, one, r.Options(platforms[i:i+1]))
			}
			if err == nil && one.Transport == "docker-archive" {
				if docker = p; !isFor(p, name) {
					err = &pull.PlatformError{Want: name, Have: p.Platforms}
				}
			}
			if other := new(pull.PlatformError); errors.As(err, &other) {
				misses = append(misses, miss{pull.Failure{Ref: one.Wanted.Ref, Places: one.Wanted.Places, Err: err}, name})
				err = nil
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			if known := slices.IndexFunc(loaded, func(c Claim) bool { return c.Ref == p.Ref && c.Digest == p.Digest }); known >= 0 {
				loaded[known].Of = append(loaded[known].Of, name)
				continue
			}
			loaded = append(loaded, Claim{Pinned: p, Of: []string{name}})
		}
	}
	return loaded, misses, nil
}

// held lists the images of an archive that lies, without compression, at plain.
func (r Resolver) held(a scan.Archive, plain string) (all []pull.Archive, err error) {
	file := pull.Archive{Transport: a.Transport, Path: plain}
	places := []store.Found{{File: a.File, Line: a.Line, Certainty: string(scan.Certain)}}
	if a.Ref != "" {
		file.Wanted = pull.Wanted{Ref: a.Ref, Places: places}
		return []pull.Archive{file}, nil
	}
	names, err := pull.ListArchive(file, r.System)
	for _, n := range names {
		one := file
		one.Source = n.Source
		one.Wanted = pull.Wanted{Ref: n.Ref, Places: places}
		all = append(all, one)
	}
	return all, err
}

// Measure asks registries how large the images are that the looks name, and brings none. What an archive holds is there already.
func (r Resolver) Measure(ctx context.Context, looks []search.Look) (pull.Measured, error) {
	local := map[string]map[string]bool{}
	names := map[string][]pull.Archive{} // by what an archive is called, and what its image
	var platforms []v1.Platform
	for _, l := range looks {
		platforms = append(platforms, l.Platform)
		here := map[string]bool{}
		local[store.Platform(l.Platform)] = here
		for _, a := range l.Found.Archives {
			path := filepath.Join(l.Dir, filepath.FromSlash(a.Path))
			key := path + "=" + a.Ref
			if names[key] == nil {
				all, err := r.namesIn(ctx, path, a)
				if err != nil {
					return pull.Measured{}, fmt.Errorf("%simage archive: %w", search.At(a.Place), err)
				}
				names[key] = all
			}
			for _, one := range names[key] {
				here[one.Wanted.Ref] = true
			}
		}
	}
	return pull.Measure(ctx, r.Store, wantedBy(looks, local), r.Options(platforms))
}

// namesIn lists the images of an archive and keeps nothing of it.
func (r Resolver) namesIn(ctx context.Context, path string, a scan.Archive) ([]pull.Archive, error) {
	scratch, err := r.Store.TempDir("plain")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if a.Ref == "" {
		if path, err = plainArchive(ctx, scratch, path); err != nil {
			return nil, err
		}
	}
	return r.held(a, path)
}

// NoteOther tells of an image that its cluster image brings and that is for other platforms.
func (r Resolver) NoteOther(name string, p store.Pinned, platform v1.Platform) {
	if want := store.Platform(platform); !isFor(p, want) {
		r.Report.Note(fmt.Sprintf("%s brings %s for %s only, and is for %s", name, p.Ref, strings.Join(p.Platforms, ", "), want))
	}
}

// isFor tells whether hosts of a platform can run an image. One that does not say for which it is counts for all, and an artifact
// does.
func isFor(p store.Pinned, platform string) bool {
	return len(p.Platforms) == 0 || slices.Contains(p.Platforms, platform) || store.SameFamily(p.Platforms, platform) || slices.Contains(p.Platforms, unsaid)
}

// unsaid is what an image without a platform in its config is for.
const unsaid = "linux/"
