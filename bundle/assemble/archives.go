package assemble

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

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
