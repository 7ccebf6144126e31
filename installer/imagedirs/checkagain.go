package imagedirs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// CheckAgain runs the check script of an image made for sealos once more, now in the rootfs: some of these scripts change
// files there for the scripts that follow. On a host that is in use the script may find the cluster's own ports taken, and
// stop before it changes anything. Then the changes that it made when it came to its end, which the journal holds, are made
// again without it.
func (d Dirs) CheckAgain(ctx context.Context, t *fleet.Target) error {
	img, line := d.Share(t).Script("check")
	if line == "" || !d.PlainRegistry(t) {
		return nil
	}
	inputs := journal.Inputs(line, d.Share(t).Rendered(d.RootfsDir()), d.Share(t).Digests())
	_, err := t.Journal.Under(ctx, journal.Checked, inputs, func(*journal.Work) error {
		err := d.RunRootfsScript(ctx, t, "bootstrap", img, line)
		if err == nil {
			return d.noteFindings(ctx, t)
		}
		if _, ended := errors.AsType[*agent.ScriptError](err); ended && t.WorkedBefore {
			return d.repeatFindings(ctx, t, err)
		}
		return err
	})
	return err
}

// checkable are the files of a host's rootfs that its check script may change, by path, with their content before that.
func (d Dirs) checkable(t *fleet.Target) map[string]string {
	out := map[string]string{}
	for name, f := range d.rootfsFiles(t) {
		if strings.HasPrefix(name, "etc/") && len(f.Content) <= sealos.MaxFound {
			out[name] = string(f.Content)
		}
	}
	return out
}

// rootfsFiles are the small files of a host's rootfs, by path, as they were unpacked and rendered.
func (d Dirs) rootfsFiles(t *fleet.Target) map[string]payload.File {
	out := map[string]payload.File{}
	for _, i := range d.Share(t).All() {
		if i.Dir == d.RootfsDir() {
			maps.Copy(out, i.Files)
		}
	}
	maps.Copy(out, d.Share(t).Rendered(d.RootfsDir()))
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

// repeatFindings makes the changes of a check script again that now stops before its end since the host is in use.
// complaint is the error of the script.
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
		files = append(files, agent.File{Path: path.Join(d.RootfsDir(), name), Mode: d.rootfsFiles(t)[name].Mode, Content: []byte(text)})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return fmt.Errorf("do again what the check script did: %w", err)
	}
	d.Report.Infof("%s: the image's check script stops because the host is in use, by this cluster; what it changed when the host was fresh is done again", t.IP)
	return nil
}
