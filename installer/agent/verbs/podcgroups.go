package verbs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
)

const cgroupRoot = "/sys/fs/cgroup"

func (m machine) podCgroups(ctx context.Context, _ agent.PodCgroupsRequest) (agent.PodCgroupsResult, error) {
	var res agent.PodCgroupsResult
	trees := m.podTrees()
	seen := map[string]bool{}
	for _, tree := range trees {
		for _, pid := range m.processesIn(tree) {
			if !seen[pid] {
				seen[pid] = true
				name := m.Line("/proc/" + pid + "/comm")
				res.Busy = append(res.Busy, fmt.Sprintf("%s (process %s, %s)", tree, pid, name))
			}
		}
	}
	if len(res.Busy) > 0 {
		return res, nil
	}
	if err := m.stopPodSlices(ctx); err != nil {
		return res, err
	}
	for _, tree := range trees {
		m.removeCgroups(tree)
	}
	return res, nil
}

// podTrees finds kubelet's control groups for pods, at the root of the tree or, in version 1, of the tree of each controller.
func (m machine) podTrees() []string {
	roots := []string{cgroupRoot}
	if !m.Exists(cgroupRoot + "/cgroup.controllers") {
		entries, _ := os.ReadDir(m.Path(cgroupRoot)) // none where there are no groups
		for _, e := range entries {
			roots = append(roots, path.Join(cgroupRoot, e.Name()))
		}
	}
	var trees []string
	for _, root := range roots {
		if info, err := os.Lstat(m.Path(root)); err != nil || !info.IsDir() {
			continue // cpu is a link to cpu,cpuacct
		}
		for _, name := range []string{"kubepods", "kubepods.slice"} {
			if m.Exists(path.Join(root, name)) {
				trees = append(trees, path.Join(root, name))
			}
		}
	}
	return trees
}

func (m machine) groupsBelow(tree string) []string {
	var out []string
	// Errors are passed over: a group may go away meanwhile.
	_ = filepath.WalkDir(m.Path(tree), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, strings.TrimPrefix(name, m.Root))
		}
		return nil
	})
	return out
}

func (m machine) processesIn(tree string) []string {
	var out []string
	for _, group := range m.groupsBelow(tree) {
		out = append(out, strings.Fields(m.Text(path.Join(group, "cgroup.procs")))...)
	}
	return out
}

func (m machine) removeCgroups(tree string) {
	for _, group := range slices.Backward(m.groupsBelow(tree)) {
		_ = unix.Rmdir(m.Path(group)) // the kernel removes the files in it; a group with a process stays
	}
}

var podSlice = regexp.MustCompile(`^kubepods(-[A-Za-z0-9_]+)*\.slice$`)

// stopPodSlices stops the slices of pods in systemd, children first.
func (m machine) stopPodSlices(ctx context.Context) error {
	if !m.Exists("/run/systemd/system") {
		return nil // systemd does not run here
	}
	res, err := m.systemctl(ctx, "list-units", "--all", "--plain", "--no-legend", "--full", "--type=slice", "kubepods.slice", "kubepods-*.slice")
	if err == nil && res.Code != 0 {
		err = errors.New(strings.TrimSpace(string(res.Stderr)))
	}
	if err != nil {
		return fmt.Errorf("list the slices of pods: %w", err)
	}
	var slicesFound []string
	for line := range strings.Lines(string(res.Stdout)) {
		for _, word := range strings.Fields(line)[:min(2, len(strings.Fields(line)))] { // a mark may come first
			if podSlice.MatchString(word) {
				slicesFound = append(slicesFound, word)
			}
		}
	}
	slices.SortFunc(slicesFound, func(a, b string) int { return strings.Count(b, "-") - strings.Count(a, "-") })
	for part := range slices.Chunk(slicesFound, 100) {
		res, err := m.systemctl(ctx, append([]string{"stop"}, part...)...)
		if err != nil {
			return fmt.Errorf("stop the slices of pods: %w", err)
		}
		if res.Code != 0 {
			return fmt.Errorf("stop the slices of pods: %s", strings.TrimSpace(string(res.Stderr)))
		}
	}
	return nil
}
