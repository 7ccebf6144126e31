package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupMounts lists where this machine mounts its cgroup hierarchies: one per
// controller with version 1, a single one with version 2.
func cgroupMounts() (mounts []string, unified bool, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 1 {
			continue
		}
		switch right[0] {
		case "cgroup":
			mounts = append(mounts, left[4])
		case "cgroup2":
			mounts = append(mounts, left[4])
			unified = unified || left[4] == "/sys/fs/cgroup"
		}
	}
	return mounts, unified, sc.Err()
}

// makeCgroups gives name a branch of its own in every hierarchy, so that the
// kubelets of two hosts do not see, and tidy away, each other's pods.
func makeCgroups(name string) error {
	mounts, unified, err := cgroupMounts()
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return errors.New("no cgroup hierarchy is mounted")
	}
	for _, m := range mounts {
		dir := filepath.Join(m, name)
		if unified {
			enableControllers(m)
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// A version 1 cpuset starts empty and takes no process until it is filled.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(m, f))
			if err != nil || unified {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, f), b, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// enableControllers is best effort: a controller somebody withholds is missing
// in the host too, where the installer's own check must report it.
func enableControllers(root string) {
	b, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(b)) {
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// cgroupProcsFiles lists the files a process writes its id into to belong to name.
func cgroupProcsFiles(name string) ([]string, error) {
	mounts, _, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	var files []string
	for _, m := range mounts {
		if f := filepath.Join(m, name, "cgroup.procs"); exists(f) {
			files = append(files, f)
		}
	}
	return files, nil
}

// cgroupPids lists every process in name's branches, whatever it forked into
// and whichever pid namespace it hides in.
func cgroupPids(name string) ([]int, error) {
	mounts, _, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, m := range mounts {
		for _, dir := range cgroupDirs(filepath.Join(m, name)) {
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue // it went away, or is a threaded version 2 group
			}
			for _, s := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(s); err == nil && pid > 1 {
					pids = append(pids, pid)
				}
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// cgroupDirs lists dir and everything below it, deepest first.
func cgroupDirs(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	slices.Reverse(dirs)
	return dirs
}

// killCgroup ends every process in name with SIGKILL and waits until none is
// left; they may be forking while we look.
func killCgroup(ctx context.Context, name string) error {
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		pids, err := cgroupPids(name)
		if err != nil || len(pids) == 0 {
			return err == nil, err
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("end the processes of %s: %w", name, err)
	}
	return nil
}

// removeCgroups removes name's branches. The kernel says busy for a moment
// after the last process went.
func removeCgroups(ctx context.Context, name string) error {
	mounts, _, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		top := filepath.Join(m, name)
		err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
			for _, d := range cgroupDirs(top) {
				_ = os.Remove(d)
			}
			return !exists(top), nil
		})
		if err != nil {
			return fmt.Errorf("remove cgroup %s: %w", top, err)
		}
	}
	return nil
}

// cgroupInit finds the init of the container in name: the process that is
// number 1 of a pid namespace directly below ours. Pods are deeper.
func cgroupInit(name string) (int, bool) {
	pids, err := cgroupPids(name)
	if err != nil {
		return 0, false
	}
	self := len(nsPids("self"))
	for _, pid := range pids {
		if ns := nsPids(strconv.Itoa(pid)); len(ns) == self+1 && ns[len(ns)-1] == "1" {
			return pid, true
		}
	}
	return 0, false
}

func nsPids(pid string) []string {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return strings.Fields(v)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
