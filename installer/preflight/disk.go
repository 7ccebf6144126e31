package preflight

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Places are the directories of a host in which an installation needs room, writes, or runs programs.
type Places struct{ Data, Bin, CRI, Registry, Etcd, Kubelet, Log, CNI, Etc string }

// All are those directories.
func (p Places) All() []string {
	return []string{p.Data, p.Bin, p.CRI, p.Registry, p.Etcd, p.Kubelet, p.Log, p.CNI, p.Etc}
}

// Program is a program that every cluster has.
func (p Places) Program() string { return path.Join(p.Bin, "kubelet") }

// Needs is the room that an installation needs on a host.
type Needs struct {
	Places Places
	Least  map[string]int64 // bytes by directory, however pods are spread
	Most   map[string]int64 // bytes by directory, when every image is used on this host
}

// mountProblems judges every mount by what is needed on it.
func mountProblems(v Host) []Problem {
	out := DiskProblems(v)
	add := v.adder(&out)
	p := v.Needs.Places
	full := map[string]bool{}
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(p.All()))) {
		m, ok := v.Facts.Disks[dir]
		if !ok || (dir == p.Registry || dir == p.Etcd) && !v.Master {
			continue
		}
		if slices.Contains(m.Options, "ro") {
			add(false, "read-only", "mount it writable: mount -o remount,rw "+m.Path+hint(dir, p), "%s lies on %s, which is mounted read-only", dir, m.Path)
		}
		if runs := dir == p.Data || dir == p.Bin || dir == p.CNI; runs && slices.Contains(m.Options, "noexec") {
			add(false, "noexec", "mount -o remount,exec "+m.Path+", and take noexec out of /etc/fstab"+hint(dir, p), "programs are run from %s, but %s is mounted noexec", dir, m.Path)
		}
		least := max(minInodes, v.Settings.threshold("nodefs.inodesFree", m.Inodes))
		if m.Inodes > 0 && m.InodesFree < least && !full[m.Path] && !v.Begun {
			full[m.Path] = true
			add(false, "inodes", "remove files, or make the file system anew with more inodes (mkfs -i 8192), or use xfs", "%s has %d of %d inodes free, %d are needed for the files of images", m.Path, m.InodesFree, m.Inodes, least)
		}
	}
	return out
}

// hint names the setting that moves a directory.
func hint(dir string, p Places) string {
	for name, d := range map[string]string{"BIN_DIR": p.Bin, "criData": p.CRI, "registryData": p.Registry} {
		if d == dir {
			return ", or choose another directory with -e " + name + "=DIR"
		}
	}
	return ""
}

// DiskProblems adds up what is needed on each mount of a host.
func DiskProblems(v Host) []Problem {
	var out []Problem
	mounts := map[string]agent.Mount{}
	for dir := range v.Needs.Most {
		if m, ok := v.Facts.Disks[dir]; ok {
			mounts[m.Path] = m
		}
	}
	for _, at := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[at]
		spare := v.Spare(at, m.Total)
		least, parts := v.sum(v.Needs.Least, at)
		most, _ := v.sum(v.Needs.Most, at)
		least, most = least+spare, most+spare
		if spare > 0 {
			parts = append(parts, Bytes(spare)+" below which kubelet evicts pods")
		}
		p := Problem{
			Host: v.IP, Check: "disk",
			Message: fmt.Sprintf("%s has %s free, %s are needed: %s", at, Bytes(int64(m.Free)), Bytes(least), strings.Join(parts, ", ")),
			Remedy:  "free some space, or mount a larger disk at one of these directories",
		}
		switch {
		case m.Total == 0: // it did not answer
			p.Message, p.Remedy, p.Warning = at+" did not tell its size within a second", "look whether the server of this file system is away", true
		case int64(m.Free) < least:
		case int64(m.Free) < most:
			p.Message = fmt.Sprintf("%s has %s free, enough for this host's share of the images; %s would be needed if pods use all of them here", at, Bytes(int64(m.Free)), Bytes(most))
			p.Remedy, p.Warning = "nothing to do if pods spread over the hosts: kubelet removes images that no pod uses", true
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// Spare is how many bytes kubelet keeps free on a mount with its own files or its images.
func (v Host) Spare(at string, total uint64) int64 {
	var n uint64
	if v.Facts.Disks[v.Needs.Places.Kubelet].Path == at {
		n = v.Settings.threshold("nodefs.available", total)
	}
	if v.Facts.Disks[v.Needs.Places.CRI].Path == at {
		n = max(n, v.Settings.threshold("imagefs.available", total))
	}
	return int64(n)
}

// sum adds up what is needed on one mount, and lists the parts.
func (v Host) sum(need map[string]int64, at string) (total int64, parts []string) {
	for _, dir := range slices.Sorted(maps.Keys(need)) {
		if v.Facts.Disks[dir].Path == at && need[dir] > 0 {
			total += need[dir]
			parts = append(parts, Bytes(need[dir])+" for "+dir)
		}
	}
	return total, parts
}

// Bytes writes a number of bytes for people.
func Bytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
