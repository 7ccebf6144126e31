package preflight

import (
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// FullDisks finds the disks of a host in the cluster that are full, or have so little room that kubelet evicts pods.
func FullDisks(v Host) []Problem {
	p := v.Needs.Places
	holds := map[string][]string{}
	var order []string
	for _, d := range []struct {
		dir, what string
		masters   bool
	}{
		{p.Data, "the installer's data", false},
		{p.Etcd, "etcd", true},
		{p.Registry, "the registry", true},
		{p.CRI, "containers and images", false},
		{p.Kubelet, "pods", false},
		{p.Log, "logs", false},
	} {
		m, ok := v.Facts.Disks[d.dir]
		if !ok || m.Total == 0 || d.masters && !v.Master {
			continue
		}
		if holds[m.Path] == nil {
			order = append(order, m.Path)
		}
		holds[m.Path] = append(holds[m.Path], d.what)
	}
	var out []Problem
	for _, at := range order {
		m := mountAt(v.Facts, at)
		spare := v.Spare(at, m.Total)
		full := fmt.Sprintf("%s, which holds %s, ", at, installer.NameSome(holds[at]))
		switch {
		case m.Free == 0:
			full += "is full: 0 B of " + Bytes(int64(m.Total)) + " are free"
		case int64(m.Free) < spare:
			full += fmt.Sprintf("has %s of %s free, less than the %s below which kubelet evicts pods", Bytes(int64(m.Free)), Bytes(int64(m.Total)), Bytes(spare))
		case m.Inodes > 0 && m.InodesFree == 0:
			full += "is full: it has no inodes left"
		default:
			continue
		}
		out = append(out, Problem{Host: v.IP, Check: "disk", Message: full, Remedy: "free some space there, or give it a larger disk"})
	}
	return out
}

// mountAt is the mount of a host at a path.
func mountAt(f agent.Facts, at string) (found agent.Mount) {
	for _, m := range f.Disks {
		if m.Path == at {
			found = m
		}
	}
	return found
}
