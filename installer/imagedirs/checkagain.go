package imagedirs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// CheckAgain runs the check script of an image made for sealos once more, now in
// the rootfs: some of these change files there for the scripts that follow. On a
// host that works already it may find the cluster's own ports taken, and stop
// before it comes to that: what it changed when it came to its end, which is on
// record, is then done again without it.
func (d Dirs) CheckAgain(ctx context.Context, t *fleet.Target) error {
	img, line := d.Share(t).Script("check")
	in := journal.Inputs(line, d.Share(t).Rendered(d.RootfsDir()), d.Share(t).Digests())
	if line == "" || !d.PlainRegistry(t) {
		return nil
	}
	_, err := t.Journal.Under(ctx, journal.Checked, in, func(*journal.Work) error {
		err := d.RunScript(ctx, t, "bootstrap", path.Join(d.RootfsDir(), "scripts"), line, d.Share(t).Env(img))
		var script *agent.ScriptError
		switch {
		case err == nil:
			return d.noteFindings(ctx, t)
		case errors.As(err, &script) && t.WorkedBefore:
			return d.repeatFindings(ctx, t, err)
		}
		return err
	})
	return err
}

// checkable are the files of a host's rootfs that its check script may change, as they were rendered.
func (d Dirs) checkable(t *fleet.Target) map[string]string {
	out := map[string]string{}
	for _, i := range d.Share(t).All() {
		if i.Dir != d.RootfsDir() {
			continue
		}
		for name, f := range i.Files {
			if strings.HasPrefix(name, "etc/") && len(f.Content) <= sealos.MaxFound {
				out[name] = string(f.Content)
			}
		}
	}
	for name, f := range d.Share(t).Rendered(d.RootfsDir()) {
		if strings.HasPrefix(name, "etc/") && len(f.Content) <= sealos.MaxFound {
			out[name] = string(f.Content)
		}
	}
	return out
}

// noteFindings records what a check script that came to its end has changed.
func (d Dirs) noteFindings(ctx context.Context, t *fleet.Target) error {
	before := d.checkable(t)
	var paths []string
	for name := range before {
		paths = append(paths, path.Join(d.RootfsDir(), name))
	}
	slices.Sort(paths)
	after, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read what the check script changed: %w", err)
	}
	found := []sealos.Finding{}
	for _, p := range paths {
		name := strings.TrimPrefix(p, d.RootfsDir()+"/")
		if text, there := after[p]; there {
			found = append(found, sealos.Findings(name, before[name], string(text))...)
		}
	}
	record, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return t.Journal.Set(ctx, journal.Findings, string(record))
}

// repeatFindings does again what a check script did that now stops before its end, since the host is in use: by us.
func (d Dirs) repeatFindings(ctx context.Context, t *fleet.Target, complaint error) error {
	record := t.Journal.Of(journal.Findings)
	if record == "" {
		return fmt.Errorf("the image's check script stops on a host that is in use, and what it found out at first is not on record: %w", complaint)
	}
	var found []sealos.Finding
	if err := json.Unmarshal([]byte(record), &found); err != nil {
		return fmt.Errorf("read the record %s: %w", t.Journal.Path(journal.Findings), err)
	}
	var files []agent.File
	texts := map[string]string{}
	for _, f := range found {
		text, read := texts[f.Path]
		p := path.Join(d.RootfsDir(), f.Path)
		if !read {
			got, err := t.Agent.ReadFiles(ctx, []string{p})
			if err != nil {
				return err
			}
			text = string(got[p])
		}
		text, err := f.Again(text)
		if err != nil {
			return fmt.Errorf("the image's check script stops on a host that is in use (%w), and what it found out at first cannot be done again: %w; nothing that runs was changed: go back to the settings of before, or reset the host and install it anew", complaint, err)
		}
		texts[f.Path] = text
	}
	for name, text := range texts {
		files = append(files, agent.File{Path: path.Join(d.RootfsDir(), name), Mode: d.modeOf(t, name), Content: []byte(text)})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return fmt.Errorf("do again what the check script did: %w", err)
	}
	d.Report.Infof("%s: the image's check script stops because the host is in use, by this cluster; what it changed when the host was fresh is done again", t.IP)
	return nil
}

func (d Dirs) modeOf(t *fleet.Target, name string) (mode fs.FileMode) {
	for _, i := range d.Share(t).All() {
		if f, ok := i.Files[name]; ok && i.Dir == d.RootfsDir() {
			mode = f.Mode
		}
	}
	if f, ok := d.Share(t).Rendered(d.RootfsDir())[name]; ok {
		mode = f.Mode
	}
	return mode
}
