package settings

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Roll brings what is wanted in force, if the verb wishes so, and notes on hosts and ConfigMaps what they are: first the
// ConfigMaps, so that hosts which join get it, then the control planes, one master after the other, then kubelets host by host,
// at last kube-proxy. It stops at the first host that does not come back. It returns how much it changed.
func (s *Settings) Roll(ctx context.Context, step string) (changes int, err error) {
	st, err := s.Look(ctx)
	if err != nil || st == nil {
		return 0, err
	}
	if refused := s.Refusals(st); len(refused) > 0 && s.Wish.Apply {
		return 0, &preflight.Error{Problems: refused} // since the run began, somebody has changed something
	}
	for _, m := range st.maps[:2] {
		n, err := s.rollMap(ctx, m)
		if changes += n; err != nil {
			return changes, err
		}
	}
	r := &roll{Settings: s, step: step, alone: len(s.Cluster.Hosts) == 1}
	for _, do := range []func(context.Context, *host) (int, error){r.controlPlane, r.kubelet, r.settle} {
		for _, h := range st.hosts {
			n, err := do(ctx, h)
			s.Changed(h.Target, n)
			if changes += n; err != nil {
				return changes, h.Failed(err)
			}
		}
	}
	n, err := s.rollProxy(ctx, st.maps[2])
	return changes + n, err
}

// mayWrite tells whether what differs is written.
func (s *Settings) mayWrite(drifted bool) bool {
	return s.Wish.Apply && (!drifted || s.Wish.TakeOver)
}

// rollMap writes a ConfigMap of those that differ, and notes on it what it is.
func (s *Settings) rollMap(ctx context.Context, m *configMap) (int, error) {
	differs, drifted := len(m.fields) > 0, m.drifted()
	switch {
	case differs && s.mayWrite(drifted):
		return 1, s.writeMap(ctx, m, note{Of: m.of})
	case drifted && (differs || !m.unsettled()) && !s.mayWrite(true):
		return 0, nil // it stays, and stays known as changed
	case differs && m.noted:
		return 0, nil
	case differs:
		return 0, s.writeMap(ctx, m, note{})
	}
	return 0, s.writeMap(ctx, m, note{Of: m.of})
}

// roll is a change that is under way.
type roll struct {
	*Settings
	step  string
	alone bool // the cluster has one host: pods have nowhere to go
	// lastAPI is when the API server of a master came back.
	lastAPI time.Time
}

// set sets the mark of a host.
func (r *roll) set(ctx context.Context, h *host, m mark) error {
	if h.marked && m.text() == h.mark.text() {
		return nil
	}
	if err := h.Journal.Set(ctx, journal.Settings, m.text()); err != nil {
		return err
	}
	h.mark, h.marked = m, true
	return nil
}

// write writes files of a host, after its mark says so. What they were is kept there until the host is known to live with what
// they are: whoever goes on with this change can put it back.
func (r *roll) write(ctx context.Context, h *host, names, pending []string, fields []kubeadm.Difference) error {
	m := mark{Of: maps.Clone(h.mark.Of), Files: maps.Clone(h.mark.Files), Pending: slices.Clone(h.mark.Pending), Fields: fields}
	if m.Files == nil {
		m.Files = map[string][]string{}
		for name, content := range h.now {
			m.Files[name] = []string{kubeadm.Meaning(content)}
		}
	}
	var before, after []agent.File
	for _, name := range names {
		delete(m.Of, name)
		if len(h.mark.Files[name]) < 2 { // else a change before this one was cut off, and its host has not lived with it yet
			m.Files[name] = []string{kubeadm.Meaning(h.now[name])}
			before = append(before, agent.File{Path: r.kept(name), Mode: 0o600, Content: h.now[name], Remove: h.now[name] == nil})
		}
		m.Files[name] = append(slices.Clone(m.Files[name]), kubeadm.Meaning(h.wanted[name]))
		after = append(after, agent.File{Path: name, Mode: r.modeOf(name), Content: h.wanted[name]})
	}
	for _, p := range pending {
		if !slices.Contains(m.Pending, p) {
			m.Pending = append(m.Pending, p)
		}
	}
	if _, err := h.Agent.WriteFiles(ctx, before); err != nil {
		return fmt.Errorf("keep its settings: %w", err)
	}
	if err := r.set(ctx, h, m); err != nil {
		return err
	}
	if _, err := h.Agent.WriteFiles(ctx, after); err != nil {
		return fmt.Errorf("write its settings: %w", err)
	}
	return nil
}

// modeOf is the mode that kubeadm gives to a file.
func (r *roll) modeOf(name string) fs.FileMode {
	if strings.HasPrefix(name, kubeletDir) {
		return 0o644
	}
	return 0o600
}

func (r *roll) keptDir() string {
	return r.Dir("settings-before") //docs:file hosts /var/lib/sealos/data/<cluster>/settings-before/: settings as they were, while they are changed
}

// kept is where a file of a host is kept as it was before a change.
func (r *roll) kept(name string) string {
	return path.Join(r.keptDir(), strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "_"))
}

// putBack gives files of a host their content of before the change, byte for byte, and tells which it had to.
func (r *roll) putBack(ctx context.Context, h *host, names []string) error {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = r.kept(name)
	}
	found, err := h.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return err
	}
	var files []agent.File
	for i, name := range names {
		if content, there := found[paths[i]]; there {
			files = append(files, agent.File{Path: name, Mode: r.modeOf(name), Content: content})
		}
	}
	_, err = h.Agent.WriteFiles(ctx, files)
	return err
}

// restored notes that a host lives with its files of before the change.
func (r *roll) restored(ctx context.Context, h *host, names []string, pending string) error {
	m := h.mark
	m.Files = maps.Clone(m.Files)
	for _, name := range names {
		m.Files[name] = m.Files[name][:min(1, len(m.Files[name]))]
	}
	m.Pending, m.Fields = slices.DeleteFunc(slices.Clone(m.Pending), func(p string) bool { return p == pending }), nil
	if err := r.set(ctx, h, m); err != nil || h.keeps() {
		return err
	}
	return h.Agent.Remove(ctx, []string{r.keptDir()})
}

// done takes pending work off the mark of a host.
func (r *roll) done(ctx context.Context, h *host, pending string) error {
	m := h.mark
	m.Pending = slices.DeleteFunc(slices.Clone(m.Pending), func(p string) bool { return p == pending })
	if pending == pendingKubelet {
		m.Fields = nil
	}
	return r.set(ctx, h, m)
}

// settle notes on a host what its files are now, once nothing is left to do there.
func (r *roll) settle(ctx context.Context, h *host) (int, error) {
	if len(h.mark.Pending) > 0 {
		return 0, nil // of a run that applied settings and was cut off: the next one that does goes on
	}
	m := mark{Of: map[string]string{}, Files: map[string][]string{}}
	for _, name := range filesOf(h.Target) {
		switch differs := h.wanted[name] != nil; {
		case h.drifted(name) && differs: // it stays, and stays known as changed
			m.Files[name] = h.mark.Files[name]
			if of := h.mark.Of[name]; of != "" {
				m.Of[name] = of
			}
			continue
		case !differs:
			m.Of[name] = h.of[name]
		}
		m.Files[name] = []string{kubeadm.Meaning(h.now[name])}
	}
	if h.keeps() {
		if err := h.Agent.Remove(ctx, []string{r.keptDir()}); err != nil {
			return 0, err
		}
	}
	return 0, r.set(ctx, h, m)
}

// keeps tells whether files of a host are kept as they were before a change.
func (h *host) keeps() bool {
	for _, digests := range h.mark.Files {
		if len(digests) > 1 {
			return true
		}
	}
	return false
}

// writable are those of the files that differ and may be written.
func (r *roll) writable(h *host, names ...string) (out []string) {
	for _, name := range names {
		if h.wanted[name] != nil && r.mayWrite(h.drifted(name)) {
			out = append(out, name)
		}
	}
	return out
}

// has takes note of files of a host that hold what is wanted now.
func (h *host) has(names []string) {
	for _, name := range names {
		h.now[name] = h.wanted[name]
		delete(h.wanted, name)
		delete(h.fields, name)
		h.drift = slices.DeleteFunc(h.drift, func(d string) bool { return d == name })
	}
}

// patience is how long a host may take to live with new settings, before they are put back.
func (r *roll) patience() time.Duration { return min(settlePatience, r.Timeout) }

// settlePatience is as long as kubeadm waits for a static pod that it has changed.
const settlePatience = 5 * time.Minute

// gaveBack is the error of a host that does not live with new settings.
func gaveBack(what string, cause, back error) error {
	err := fmt.Errorf("%s does not come back with the new settings, so it was given those of before: %w", what, cause)
	if back != nil {
		err = fmt.Errorf("%s does not come back with the new settings: %w; and those of before do not help either: %s", what, cause, installer.Tell(back))
	}
	return fmt.Errorf("%w\n  All other hosts are as they were or have the new settings already. Correct the settings in the Clusterfile, and run the same command", err)
}
