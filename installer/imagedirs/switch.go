package imagedirs

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// note is what the journal says of a directory of images while it is in use. It lies in the directory, and so goes where that goes:
// after a rename it tells which marks are true now, whoever was killed before and after.
type note struct {
	Inputs  string            `json:"inputs,omitempty"`  // of what was staged; empty before all of it lies there, and once it was in use
	Marks   map[string]string `json:"marks"`             // what marks say; of [journal.Overlaid] the files in the directory
	InForce bool              `json:"inForce,omitempty"` // the journal has taken them over
}

// staging is where the layers of a directory lie on a host, or are to lie.
type staging struct {
	place  agent.LayersPlace
	layers []payload.Layer
	want   agent.Layers
}

func (d Dirs) staging(ctx context.Context, t *fleet.Target, dir string) (s staging, err error) {
	s.layers, s.want = d.wanted(t, dir)
	if len(s.layers) == 0 {
		return s, nil
	}
	s.want.Aside, s.want.Keep = true, true
	s.place, err = t.Agent.PrepareLayers(ctx, s.want)
	return s, err
}

// Switch takes into use what [Dirs.Stage] has brought, in one step, and keeps what was in use beside it until the next Switch. The
// marks of work with the old files are taken back before. It does nothing where the layers are in use already, but for what a
// killed run left to do.
func (d Dirs) Switch(ctx context.Context, t *fleet.Target, dir string) (switched bool, err error) {
	s, err := d.staging(ctx, t, dir)
	if err != nil || len(s.layers) == 0 {
		return false, err
	}
	if !s.place.Beside {
		return false, d.inForce(ctx, t, dir)
	}
	if err := d.wantWhole(ctx, t, dir, s); err != nil {
		return false, err
	}
	next, err := d.readNote(ctx, t, s.place.At)
	if err != nil {
		return false, err
	}
	if err := d.goingOut(ctx, t, dir, next); err != nil {
		return false, err
	}
	if err := t.Journal.Drop(ctx, d.marksUpon(t, dir, true)...); err != nil {
		return false, err
	}
	if err := t.Agent.SwitchLayers(ctx, s.want); err != nil {
		return false, err
	}
	return true, d.inForce(ctx, t, dir)
}

// SwitchBack brings back what [Dirs.Switch] has kept, in one step, with the marks that tell what it is. The marks of work that was
// done with its files are not among them: [Dirs.Former] tells what they said. What goes out of use is kept for another try, if it
// is as it was staged: scripts of images made for sealos change files. Where the images of this run are not in use, it does
// nothing, but for what a killed run left to do.
func (d Dirs) SwitchBack(ctx context.Context, t *fleet.Target, dir string) error {
	s, err := d.staging(ctx, t, dir)
	if err != nil || len(s.layers) == 0 {
		return err
	}
	s.want.Keep = !d.PlainRegistry(t)
	if !s.place.Beside {
		former, err := d.readNote(ctx, t, s.place.At+agent.LayersKept)
		if err != nil {
			return err
		}
		if former.Marks == nil {
			return fmt.Errorf("switch %s back: nothing was kept to go back to", dir)
		}
		if err := d.goingOut(ctx, t, dir, former); err != nil {
			return err
		}
		if err := t.Journal.Drop(ctx, append(d.marksUpon(t, dir, true), d.findings(dir)...)...); err != nil {
			return err
		}
	}
	if err := t.Agent.SwitchLayersBack(ctx, s.want); err != nil {
		return err
	}
	return d.inForce(ctx, t, dir)
}

// Former tells what the marks of a directory said before [Dirs.Switch], by mark, also after [Dirs.SwitchBack]; nil if nothing was
// kept. With the marks of the scripts (journal.Registry, journal.Init) a run that has put a host back says which inputs they had.
func (d Dirs) Former(ctx context.Context, t *fleet.Target, dir string) (map[string]string, error) {
	s, err := d.staging(ctx, t, dir)
	if err != nil || len(s.layers) == 0 {
		return nil, err
	}
	at := dir
	if !s.place.Beside {
		at = s.place.At + agent.LayersKept
	}
	n, err := d.readNote(ctx, t, at)
	return n.Marks, err
}

// findings are the marks that say what scripts found out in a directory, which its successor still needs.
func (d Dirs) findings(dir string) []string {
	if dir == d.RootfsDir() {
		return []string{journal.Findings}
	}
	return nil
}

// goingOut records in a directory in use what its marks say, for the day it comes back, and in the journal that the files over the
// layers are those of it or of its successor.
func (d Dirs) goingOut(ctx context.Context, t *fleet.Target, dir string, successor note) error {
	has, err := d.readNote(ctx, t, dir)
	if err != nil {
		return err
	}
	// Without the first of its marks a switch was cut off after it had recorded them.
	if cut := dir == d.RootfsDir() && !t.Journal.Has(journal.Images) && has.Marks != nil && !has.InForce; !cut {
		marks := map[string]string{journal.Overlaid: strings.Join(d.overlaidIn(t, dir), "\n")}
		for _, mark := range append(d.marksUpon(t, dir, true), d.findings(dir)...) {
			if text := t.Journal.Of(mark); text != "" {
				marks[mark] = text
			}
		}
		if err := d.writeNote(ctx, t, dir, note{Marks: marks}); err != nil {
			return err
		}
	}
	both := slices.Concat(lines(t.Journal.Of(journal.Overlaid)), lines(successor.Marks[journal.Overlaid]))
	return d.recordOverlaid(ctx, t, slices.Compact(slices.Sorted(slices.Values(both))))
}

// inForce has the journal say what the note of the directory in use says, unless it does. The mark that tells of the images comes
// last.
func (d Dirs) inForce(ctx context.Context, t *fleet.Target, dir string) error {
	n, err := d.readNote(ctx, t, dir)
	if err != nil || n.Marks == nil || n.InForce {
		return err
	}
	if dir != d.RootfsDir() || !t.Journal.Has(journal.Images) {
		outside := lines(t.Journal.Of(journal.Overlaid))
		inside := d.overlaidIn(t, dir)
		outside = slices.DeleteFunc(outside, func(name string) bool { return slices.Contains(inside, name) })
		if err := d.recordOverlaid(ctx, t, slices.Sorted(slices.Values(append(outside, lines(n.Marks[journal.Overlaid])...)))); err != nil {
			return err
		}
		var marks []string
		for mark := range n.Marks {
			// The work of scripts has to be done again. Commands that ran since have marks of their own.
			if !slices.Contains([]string{journal.Overlaid, journal.Registry, journal.Init, journal.Images}, mark) && !t.Journal.Has(mark) {
				marks = append(marks, mark)
			}
		}
		slices.Sort(marks)
		for _, mark := range append(marks, journal.Images) {
			if n.Marks[mark] == "" {
				continue
			}
			if err := t.Journal.Set(ctx, mark, n.Marks[mark]); err != nil {
				return err
			}
		}
	}
	n.Inputs, n.InForce = "", true
	return d.writeNote(ctx, t, dir, n)
}

// overlaidIn are the files over the images of a host that lie in one directory.
func (d Dirs) overlaidIn(t *fleet.Target, dir string) []string {
	return slices.DeleteFunc(lines(t.Journal.Of(journal.Overlaid)), func(name string) bool { return !strings.HasPrefix(name, dir+"/") })
}

// readNote reads the note of a directory of layers. Without one its marks are nil.
func (d Dirs) readNote(ctx context.Context, t *fleet.Target, at string) (n note, err error) {
	name := path.Join(at, agent.LayersNote)
	found, err := t.Agent.ReadFiles(ctx, []string{name})
	if err != nil || found[name] == nil {
		return note{}, err
	}
	if err := json.Unmarshal(found[name], &n); err != nil {
		return note{}, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

func (d Dirs) writeNote(ctx context.Context, t *fleet.Target, at string, n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = t.Agent.WriteFiles(ctx, []agent.File{{Path: path.Join(at, agent.LayersNote), Mode: 0o600, Content: append(text, '\n')}})
	return err
}
