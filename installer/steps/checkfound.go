package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// finding is what a check script changed in a file of the rootfs, because of what it found out about the host: a line,
// or the whole file where lines came or went.
type finding struct {
	Path  string `json:"path"` // in the rootfs
	Old   string `json:"old"`
	New   string `json:"new"`
	Whole bool   `json:"whole,omitempty"`
}

// maxFound bounds the files that are looked at for findings, in bytes each.
const maxFound = 64 << 10

// findings compares a file before and after.
func findings(name, before, after string) []finding {
	if before == after {
		return nil
	}
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(old) != len(now) {
		return []finding{{name, before, after, true}}
	}
	var out []finding
	for i := range old {
		f := finding{Path: name, Old: old[i], New: now[i]}
		if old[i] != now[i] && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// again makes the change once more, in a file that may have been rendered anew with other settings meanwhile.
func (f finding) again(text string) (string, error) {
	if f.Whole {
		switch text {
		case f.Old, f.New:
			return f.New, nil
		}
		return "", fmt.Errorf("%s has other content by now", f.Path)
	}
	lines := strings.Split(text, "\n")
	done := false
	for i, l := range lines {
		switch l {
		case f.Old:
			lines[i], done = f.New, true
		case f.New:
			done = true
		}
	}
	if !done {
		return "", fmt.Errorf("%s has no line %q any more", f.Path, f.Old)
	}
	return strings.Join(lines, "\n"), nil
}

// checkable are the files of a host's rootfs that its check script may change, as they were rendered.
func (r *Run) checkable(t *Target) map[string]string {
	out := map[string]string{}
	for _, i := range r.share(t).All() {
		if i.Dir != r.rootfsDir() {
			continue
		}
		for name, f := range i.Files {
			if strings.HasPrefix(name, "etc/") && len(f.Content) <= maxFound {
				out[name] = string(f.Content)
			}
		}
	}
	for name, f := range r.share(t).Rendered(r.rootfsDir()) {
		if strings.HasPrefix(name, "etc/") && len(f.Content) <= maxFound {
			out[name] = string(f.Content)
		}
	}
	return out
}

// noteFindings records what a check script that came to its end has changed.
func (r *Run) noteFindings(ctx context.Context, t *Target) error {
	before := r.checkable(t)
	var paths []string
	for name := range before {
		paths = append(paths, path.Join(r.rootfsDir(), name))
	}
	slices.Sort(paths)
	after, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read what the check script changed: %w", err)
	}
	found := []finding{}
	for _, p := range paths {
		name := strings.TrimPrefix(p, r.rootfsDir()+"/")
		if text, there := after[p]; there {
			found = append(found, findings(name, before[name], string(text))...)
		}
	}
	record, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return t.Journal.Set(ctx, journal.Findings, string(record))
}

// repeatFindings does again what a check script did that now stops before its end, since the host is in use: by us.
func (r *Run) repeatFindings(ctx context.Context, t *Target, complaint error) error {
	record := t.Journal.Of(journal.Findings)
	if record == "" {
		return fmt.Errorf("the image's check script stops on a host that is in use, and what it found out at first is not on record: %w", complaint)
	}
	var found []finding
	if err := json.Unmarshal([]byte(record), &found); err != nil {
		return fmt.Errorf("read the record %s: %w", t.Journal.Path(journal.Findings), err)
	}
	var files []agent.File
	texts := map[string]string{}
	for _, f := range found {
		text, read := texts[f.Path]
		p := path.Join(r.rootfsDir(), f.Path)
		if !read {
			got, err := t.Agent.ReadFiles(ctx, []string{p})
			if err != nil {
				return err
			}
			text = string(got[p])
		}
		text, err := f.again(text)
		if err != nil {
			return fmt.Errorf("the image's check script stops on a host that is in use (%w), and what it found out at first cannot be done again: %w; nothing that runs was changed: go back to the settings of before, or reset the host and install it anew", complaint, err)
		}
		texts[f.Path] = text
	}
	for name, text := range texts {
		files = append(files, agent.File{Path: path.Join(r.rootfsDir(), name), Mode: r.modeOf(t, name), Content: []byte(text)})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return fmt.Errorf("do again what the check script did: %w", err)
	}
	r.Report.Infof("%s: the image's check script stops because the host is in use, by this cluster; what it changed when the host was fresh is done again", t.IP)
	return nil
}

func (r *Run) modeOf(t *Target, name string) (mode fs.FileMode) {
	for _, i := range r.share(t).All() {
		if f, ok := i.Files[name]; ok && i.Dir == r.rootfsDir() {
			mode = f.Mode
		}
	}
	if f, ok := r.share(t).Rendered(r.rootfsDir())[name]; ok {
		mode = f.Mode
	}
	return mode
}
