package imagedirs

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// The mark journal.Overlaid names the files that lie over the images of a host, one a line: rendered templates, and files that
// Config documents changed. A file that is not wanted any more becomes again what the images have.

// underOverlays runs write, which lays files over the images of a host. Before that it records both the files that lie
// there and those that will; after it, only the latter. stale are the files of earlier runs that are not wanted any more,
// as the images have them.
func (d Dirs) underOverlays(ctx context.Context, t *fleet.Target, write func(stale []agent.File) error) error {
	now := d.Share(t).Overlaid()
	before := lines(t.Journal.Of(journal.Overlaid))
	for _, name := range before {
		if !slices.ContainsFunc(d.Share(t).Dirs(), func(dir string) bool { return strings.HasPrefix(name, dir+"/") }) {
			now = append(now, name) // it lies over images that this run does not bring
		}
	}
	slices.Sort(now)
	unwanted := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return slices.Contains(now, name) })
	stale, err := d.withoutOverlay(ctx, t, unwanted)
	if err != nil {
		return err
	}
	both := slices.Compact(slices.Sorted(slices.Values(slices.Concat(now, before))))
	if err := d.recordOverlaid(ctx, t, both); err != nil {
		return err
	}
	if err := write(stale); err != nil {
		return err
	}
	return d.recordOverlaid(ctx, t, now)
}

// lines are the names that a mark lists.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' })
}

// recordOverlaid records which files lie over the images of a host.
func (d Dirs) recordOverlaid(ctx context.Context, t *fleet.Target, names []string) error {
	text := strings.Join(names, "\n")
	switch {
	case t.Journal.Is(journal.Overlaid, text):
		return nil
	case text == "":
		return t.Journal.Drop(ctx, journal.Overlaid)
	}
	return t.Journal.Set(ctx, journal.Overlaid, text)
}

// withoutOverlay gives files as the images of a host have them: those that no image has are to be removed.
func (d Dirs) withoutOverlay(ctx context.Context, t *fleet.Target, names []string) ([]agent.File, error) {
	var out []agent.File
	for _, dir := range d.Share(t).Dirs() {
		var inside []string
		for _, name := range names {
			if rel, ok := strings.CutPrefix(name, dir+"/"); ok {
				inside = append(inside, rel)
			}
		}
		if len(inside) == 0 {
			continue
		}
		files := map[string]agent.File{}
		for _, name := range inside {
			files[name] = agent.File{Path: path.Join(dir, name), Remove: true}
		}
		for _, i := range d.Share(t).Here() {
			if i.Dir != dir {
				continue
			}
			// Wherever in the image it lies, a Config may have named it.
			has, err := i.ReadFiles(ctx, d.Payload.Bundle, inside...)
			if err != nil {
				return nil, err
			}
			for _, name := range inside {
				if f, ok := has[name]; ok {
					files[name] = agent.File{Path: path.Join(dir, name), Mode: f.Mode, Content: f.Content}
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			out = append(out, files[name])
		}
	}
	if len(out) > 0 {
		d.Report.Infof("%s: %s, rendered or changed for an earlier run, %s what the images have", t.IP, count.Of(len(out), "file"), count.Word(len(out), "becomes", "become"))
	}
	return out, nil
}

// renderedInputs stands for the rendered files of images made for sealos, in the mark journal.Rendered.
func (d Dirs) renderedInputs(t *fleet.Target) string {
	return journal.Inputs(d.Share(t).Rendered(d.RootfsDir()), d.Share(t).Digests())
}

// WriteOverlays lays the rendered files over the images of a host. Scripts of images made for sealos change such files in
// place. There a file is written again only when it is to be another one; then the scripts run again, too.
func (d Dirs) WriteOverlays(ctx context.Context, t *fleet.Target) (changes int, err error) {
	inputs := d.renderedInputs(t)
	kept := d.PlainRegistry(t) && t.Journal.Is(journal.Rendered, inputs)
	err = d.underOverlays(ctx, t, func(files []agent.File) error {
		for _, dir := range d.Share(t).Dirs() {
			if kept && dir == d.RootfsDir() {
				continue
			}
			overlay := d.Share(t).Rendered(dir)
			for _, name := range slices.Sorted(maps.Keys(overlay)) {
				files = append(files, agent.File{Path: path.Join(dir, name), Mode: overlay[name].Mode, Content: overlay[name].Content})
			}
		}
		if len(files) == 0 {
			return nil
		}
		write := func(*journal.Work) error {
			changed, err := t.Agent.WriteFiles(ctx, files)
			if err != nil {
				return fmt.Errorf("write the rendered files: %w", err)
			}
			changes = len(changed)
			return nil
		}
		if !d.PlainRegistry(t) || kept {
			return write(nil)
		}
		if err := t.Journal.Drop(ctx, journal.Checked); err != nil {
			return err
		}
		_, err := t.Journal.Under(ctx, journal.Rendered, inputs, write)
		return err
	})
	return changes, err
}
