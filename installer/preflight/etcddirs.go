package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// EtcdDirs judges the directory of etcd's data, on a host where kubeadm has not begun: nothing there belongs to this cluster.
func EtcdDirs(host string, dirs map[string]agent.Dir, dir string) []Problem {
	var out []Problem
	for _, name := range slices.Compact([]string{kubeadm.DefaultEtcdDataDir, dir}) {
		d, looked := dirs[name]
		if !looked || name != dir && (strings.HasPrefix(dir, name+"/") && d.Fresh()) {
			continue
		}
		if message, remedy := OccupiedDir(name, d); message != "" {
			out = append(out, Problem{Host: host, Check: "etcd", Message: message, Remedy: remedy})
		}
	}
	return out
}

// OccupiedDir says why etcd's data cannot go into a directory, and the remedy; both are empty if they can.
func OccupiedDir(name string, d agent.Dir) (message, remedy string) {
	held := d.Holds()
	switch {
	case d.NotDir:
		return name + " is no directory, and etcd's data go there", "move it away"
	case d.Error != "":
		return "whether " + name + " is empty cannot be told: " + d.Error, "mend what it names"
	case len(held) == 0:
		return "", ""
	}
	more := ""
	if len(held) > 5 {
		held, more = held[:5], " and more"
	}
	return fmt.Sprintf("%s holds %s%s: etcd's data go there, and it must be absent, empty, or a mount point with only lost+found", name, strings.Join(held, ", "), more),
		fmt.Sprintf("look at what it is, and move it away: mkdir %s.before && mv %s/* %s.before/", name, name, name)
}
