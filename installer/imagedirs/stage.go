package imagedirs

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// An upgrade has the images of the new bundle complete on every host, rendered files included, before it disturbs the first: they
// are staged in a directory beside the one in use. Then a host changes over by one rename, and back by another.

// registryFiles are the files of the host's registry in the rootfs that the installer has put there, by their modes. Scripts of the
// rootfs expect them, so that they go along.
var registryFiles = map[string]fs.FileMode{
	"etc/registry_ca.crt": 0o644, "etc/registry_tls.crt": 0o644, "etc/registry_tls.key": 0o600, "etc/registry_htpasswd": 0o600,
}

// Stage brings a host the layers of a directory beside those in use, and lays the rendered files over them there. It leaves alone
// what is in use, and its marks. What an earlier call has brought is not sent again. Where the layers are in use already nothing
// is staged. sent is in bytes.
func (d Dirs) Stage(ctx context.Context, t *fleet.Target, dir string) (changes int, sent int64, err error) {
	s, err := d.staging(ctx, t, dir)
	if err != nil || !s.place.Beside {
		return 0, 0, err
	}
	changes, sent, err = d.sendLayers(ctx, t, s.want, s.layers, s.place)
	if err != nil {
		return changes, sent, err
	}
	changed, err := d.overlayAside(ctx, t, dir, s.place.At)
	if err != nil {
		return changes, sent, fmt.Errorf("write the rendered files into %s: %w", s.place.At, err)
	}
	return changes + changed, sent, nil
}

// Staged tells whether a host has all that [Dirs.Stage] brings, beside what is in use or in use already.
func (d Dirs) Staged(ctx context.Context, t *fleet.Target, dir string) (bool, error) {
	s, err := d.staging(ctx, t, dir)
	if err != nil || !s.place.Beside {
		return err == nil, err
	}
	return d.complete(ctx, t, dir, s)
}

// Prepare runs the script `prepare` of the images in the staged rootfs of a host, if they have one: it makes ready what can be made
// ready while the host works as before. Nothing is run where the rootfs is in use already.
func (d Dirs) Prepare(ctx context.Context, t *fleet.Target, step string) (ran bool, err error) {
	img, line := d.Share(t).Script("prepare")
	if line == "" {
		return false, nil
	}
	s, err := d.staging(ctx, t, d.RootfsDir())
	if err != nil || !s.place.Beside {
		return false, err
	}
	if err := d.wantWhole(ctx, t, d.RootfsDir(), s); err != nil {
		return false, err
	}
	env := d.Share(t).Env(img)
	env["SEALOS_SYS_ROOTFS"] = s.place.At
	return true, d.RunScript(ctx, t, step, path.Join(s.place.At, "scripts"), line, env)
}

// ForgetStaged removes what is staged for a directory, for an upgrade that is given up.
func (d Dirs) ForgetStaged(ctx context.Context, t *fleet.Target, dir string) error {
	_, want := d.wanted(t, dir)
	want.Keep = true
	return t.Agent.ForgetLayers(ctx, want)
}

// complete tells whether all layers lie beside a directory, with the files over them that are wanted now.
func (d Dirs) complete(ctx context.Context, t *fleet.Target, dir string, s staging) (bool, error) {
	if s.place.Have < len(s.layers) {
		return false, nil
	}
	n, err := d.readNote(ctx, t, s.place.At)
	return n.Inputs == d.inputs(t, dir), err
}

// wantWhole is an error unless everything lies beside a directory.
func (d Dirs) wantWhole(ctx context.Context, t *fleet.Target, dir string, s staging) error {
	whole, err := d.complete(ctx, t, dir, s)
	if err == nil && !whole {
		err = fmt.Errorf("what is to come into use in %s does not lie beside it yet as it is wanted now", dir)
	}
	return err
}

// inputs stands for all that is staged for a directory.
func (d Dirs) inputs(t *fleet.Target, dir string) string {
	_, want := d.wanted(t, dir)
	return journal.Inputs(want.Digests, d.Share(t).Rendered(dir))
}

// overlayAside lays the rendered files over layers that were unpacked into the directory at, beside dir. The note there names them
// before the first is written.
func (d Dirs) overlayAside(ctx context.Context, t *fleet.Target, dir, at string) (changes int, err error) {
	had, err := d.readNote(ctx, t, at)
	if err != nil {
		return 0, err
	}
	rendered := d.Share(t).Rendered(dir)
	var names []string
	for name := range rendered {
		names = append(names, path.Join(dir, name))
	}
	slices.Sort(names)
	before := lines(had.Marks[journal.Overlaid])
	files, err := d.withoutOverlay(ctx, t, slices.DeleteFunc(slices.Clone(before), func(name string) bool { return slices.Contains(names, name) }))
	if err != nil {
		return 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		files = append(files, agent.File{Path: path.Join(dir, name), Mode: rendered[name].Mode, Content: rendered[name].Content})
	}
	own, err := d.registryFiles(ctx, t, dir)
	if err != nil {
		return 0, err
	}
	files = append(files, own...)
	for i, f := range files {
		files[i].Path = at + strings.TrimPrefix(f.Path, dir)
	}
	inputs := d.inputs(t, dir)
	if had.Inputs != inputs {
		both := slices.Compact(slices.Sorted(slices.Values(slices.Concat(names, before))))
		if err := d.writeNote(ctx, t, at, note{Marks: map[string]string{journal.Overlaid: strings.Join(both, "\n")}}); err != nil {
			return 0, err
		}
	}
	changed, err := t.Agent.WriteFiles(ctx, files)
	if err != nil || had.Inputs == inputs {
		return len(changed), err
	}
	now := note{Inputs: inputs, Marks: map[string]string{journal.Overlaid: strings.Join(names, "\n")}}
	if dir == d.RootfsDir() {
		now.Marks[journal.Images] = d.Share(t).Description()
		if d.PlainRegistry(t) {
			now.Marks[journal.Rendered] = d.renderedInputs(t)
		}
	}
	return len(changed), d.writeNote(ctx, t, at, now)
}

// registryFiles are the files of the host's registry as they lie in a directory, if that is the rootfs.
func (d Dirs) registryFiles(ctx context.Context, t *fleet.Target, dir string) ([]agent.File, error) {
	if dir != d.RootfsDir() {
		return nil, nil
	}
	var paths []string
	for name := range registryFiles {
		paths = append(paths, path.Join(dir, name))
	}
	slices.Sort(paths)
	there, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return nil, err
	}
	var files []agent.File
	for _, name := range paths {
		if text, ok := there[name]; ok {
			files = append(files, agent.File{Path: name, Mode: registryFiles[strings.TrimPrefix(name, dir+"/")], Content: text})
		}
	}
	return files, nil
}
