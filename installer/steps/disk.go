package steps

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/node"
)

// Room that a running cluster takes beside what the bundle brings, in bytes.
const (
	etcdRoom = 1 << 30 // write-ahead log, snapshots and a database that has not been compacted
	logRoom  = 512 << 20
)

// places are the directories of a host where an installation needs room, or to write or run programs.
type places struct{ data, bin, cri, registry, etcd, kubelet, log, cni, etc string }

// placesOf reads them from the environment, before any host has been seen.
func (r *Run) placesOf(t *Target) places {
	env := installer.MergeEnv(r.rootfs().Env, r.Cluster.Env, t.Env)
	return places{
		data: dataRoot, bin: orDefault(env["BIN_DIR"], "/usr/bin"), cri: orDefault(env["criData"], "/var/lib/containerd"),
		registry: orDefault(installer.MergeEnv(r.rootfs().Env, r.Cluster.Env)["registryData"], "/var/lib/registry"),
		etcd:     cmp.Or(r.askedDataDir(), kubeadm.DefaultEtcdDataDir), kubelet: "/var/lib/kubelet", log: "/var/log", cni: "/opt/cni/bin", etc: "/etc",
	}
}

func (p places) all() []string {
	return []string{p.data, p.bin, p.cri, p.registry, p.etcd, p.kubelet, p.log, p.cni, p.etc}
}

// program is one that is among those of every cluster.
func (p places) program() string { return path.Join(p.bin, "kubelet") }

// needs is what an installation takes on a host.
type needs struct {
	places places
	least  map[string]int64 // bytes by directory, however pods are spread
	most   map[string]int64 // bytes by directory, when every image is used on this host
}

// needOf computes the disk space a host needs. A host where the cluster was begun holds some of it already: only what
// is not where it is to be now is asked for, such as images whose directory was moved. Images are pulled where pods run:
// each host gets at least its share, at most all.
func (r *Run) needOf(t *Target, s sizes) needs {
	n := r.needAtFirst(t, s)
	if !t.begun() {
		return n
	}
	p := n.places
	moved := map[string]bool{p.cri: !t.Facts.Filled[p.cri], p.registry: t.Master && !t.Facts.Filled[p.registry], p.bin: !t.Facts.Filled[p.program()]}
	for _, need := range []map[string]int64{n.least, n.most} {
		maps.DeleteFunc(need, func(dir string, _ int64) bool { return !moved[dir] })
	}
	return n
}

// needAtFirst is what a host needs on which nothing lies yet.
func (r *Run) needAtFirst(t *Target, s sizes) needs {
	n := needs{places: r.placesOf(t)}
	p := n.places
	n.least = map[string]int64{p.data: s.stub + s.rootfs, p.log: logRoom}
	n.least[p.bin] += s.rootfs // its programs are copied there
	certain := s.system
	if t.Master {
		certain += s.control
		n.least[p.registry] += s.registry
		n.least[p.etcd] += etcdRoom
	}
	if t == r.master0() {
		n.least[p.data] += s.apps
	}
	n.most = maps.Clone(n.least)
	n.least[p.cri] += certain + max(0, s.images-s.system-s.control)/int64(len(r.Targets))
	n.most[p.cri] += s.images
	return n
}

// mountProblems judges every mount by what is needed on it.
func mountProblems(v view) []Problem {
	out := diskProblems(v)
	add := func(check, remedy, format string, args ...any) {
		out = append(out, Problem{Host: v.ip, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	p := v.needs.places
	full := map[string]bool{}
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(p.all()))) {
		m, ok := v.facts.Disks[dir]
		if !ok || (dir == p.registry || dir == p.etcd) && !v.master {
			continue
		}
		if slices.Contains(m.Options, "ro") {
			add("read-only", "mount it writable: mount -o remount,rw "+m.Path+hint(dir, p), "%s lies on %s, which is mounted read-only", dir, m.Path)
		}
		if runs := dir == p.data || dir == p.bin || dir == p.cni; runs && slices.Contains(m.Options, "noexec") {
			add("noexec", "mount -o remount,exec "+m.Path+", and take noexec out of /etc/fstab"+hint(dir, p), "programs are run from %s, but %s is mounted noexec", dir, m.Path)
		}
		least := max(minInodes, v.kube.threshold("nodefs.inodesFree", m.Inodes))
		if m.Inodes > 0 && m.InodesFree < least && !full[m.Path] && !v.begun {
			full[m.Path] = true
			add("inodes", "remove files, or make the file system anew with more inodes (mkfs -i 8192), or use xfs", "%s has %d of %d inodes free, %d are needed for the files of images", m.Path, m.InodesFree, m.Inodes, least)
		}
	}
	return out
}

// hint names the setting that moves a directory.
func hint(dir string, p places) string {
	for name, d := range map[string]string{"BIN_DIR": p.bin, "criData": p.cri, "registryData": p.registry} {
		if d == dir {
			return ", or choose another directory with -e " + name + "=DIR"
		}
	}
	return ""
}

// diskProblems adds up what is needed on each mount of a host.
func diskProblems(v view) []Problem {
	var out []Problem
	mounts := map[string]node.Mount{}
	for dir := range v.needs.most {
		if m, ok := v.facts.Disks[dir]; ok {
			mounts[m.Path] = m
		}
	}
	for _, at := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[at]
		spare := v.spare(at, m.Total)
		least, parts := v.sum(v.needs.least, at)
		most, _ := v.sum(v.needs.most, at)
		least, most = least+spare, most+spare
		if spare > 0 {
			parts = append(parts, iBytes(spare)+" below which kubelet evicts pods")
		}
		p := Problem{
			Host: v.ip, Check: "disk",
			Message: fmt.Sprintf("%s has %s free, %s are needed: %s", at, iBytes(int64(m.Free)), iBytes(least), strings.Join(parts, ", ")),
			Remedy:  "free some space, or mount a larger disk at one of these directories",
		}
		switch {
		case m.Total == 0: // it did not answer
			p.Message, p.Remedy, p.Warning = at+" did not tell its size within a second", "look whether the server of this file system is away", true
		case int64(m.Free) < least:
		case int64(m.Free) < most:
			p.Message = fmt.Sprintf("%s has %s free, enough for this host's share of the images; %s would be needed if pods use all of them here", at, iBytes(int64(m.Free)), iBytes(most))
			p.Remedy, p.Warning = "nothing to do if pods spread over the hosts: kubelet removes images that no pod uses", true
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// spare is what kubelet wants to stay free on a mount of its own or of its images.
func (v view) spare(at string, total uint64) int64 {
	var n uint64
	if v.facts.Disks[v.needs.places.kubelet].Path == at {
		n = v.kube.threshold("nodefs.available", total)
	}
	if v.facts.Disks[v.needs.places.cri].Path == at {
		n = max(n, v.kube.threshold("imagefs.available", total))
	}
	return int64(n)
}

// sum adds up what is needed on one mount, and tells of what.
func (v view) sum(need map[string]int64, at string) (total int64, parts []string) {
	for _, dir := range slices.Sorted(maps.Keys(need)) {
		if v.facts.Disks[dir].Path == at && need[dir] > 0 {
			total += need[dir]
			parts = append(parts, iBytes(need[dir])+" for "+dir)
		}
	}
	return total, parts
}

func iBytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
