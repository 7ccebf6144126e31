package site

import (
	"cmp"
	"maps"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// PlacesOf gives the directories of a host that fill up, by its environment. The host need not have been looked at.
func (st *Site) PlacesOf(t *fleet.Target) preflight.Places {
	env := installer.MergeEnv(st.Payload.Rootfs().Env, st.Cluster.Env, t.Env)
	return preflight.Places{
		Data: installer.DataRoot, Bin: cmp.Or(env["BIN_DIR"], "/usr/bin"), CRI: cmp.Or(env["criData"], "/var/lib/containerd"),
		Registry: st.Access().Data,
		Etcd:     cmp.Or(st.askedDataDir(), kubeadm.DefaultEtcdDataDir), Kubelet: "/var/lib/kubelet", Log: "/var/log", CNI: "/opt/cni/bin", Etc: "/etc",
	}
}

// NeedOf computes the disk space that a host needs, in bytes by directory. Images are pulled where pods run, so each host
// gets at least its share of them, and at most all. A host where the cluster was begun needs space only for what it does
// not have, such as images whose directory was moved.
func (st *Site) NeedOf(t *fleet.Target, s payload.Sizes) preflight.Needs {
	n := st.needAtFirst(t, s)
	if !t.Begun() || st.Payload.Adds() && !(Adding{st}).hasAll() {
		return n
	}
	p := n.Places
	missing := map[string]bool{p.CRI: !t.Facts.Filled[p.CRI], p.Registry: t.Master && !t.Facts.Filled[p.Registry], p.Bin: !t.Facts.Filled[p.Program()]}
	for _, need := range []map[string]int64{n.Least, n.Most} {
		maps.DeleteFunc(need, func(dir string, _ int64) bool { return !missing[dir] })
	}
	return n
}

// needAtFirst is what a host needs that has nothing yet.
func (st *Site) needAtFirst(t *fleet.Target, s payload.Sizes) preflight.Needs {
	n := preflight.Needs{Places: st.PlacesOf(t)}
	p := n.Places
	n.Least = map[string]int64{p.Data: s.Stub + s.Rootfs}
	if !st.Payload.Adds() {
		n.Least[p.Log] += logRoom
	}
	n.Least[p.Bin] += s.Rootfs // its programs are copied there
	certain := s.System
	if t.Master {
		certain += s.Control
		n.Least[p.Registry] += s.Registry
		if !st.Payload.Adds() {
			n.Least[p.Etcd] += etcdRoom
		}
	}
	if t == st.Master0() {
		n.Least[p.Data] += s.Apps
	}
	n.Most = maps.Clone(n.Least)
	n.Least[p.CRI] += certain + max(0, s.Images-s.System-s.Control)/int64(len(st.Targets))
	n.Most[p.CRI] += s.Images
	return n
}

// Room that a running cluster takes beside what the bundle brings, in bytes.
const (
	etcdRoom = 1 << 30 // write-ahead log, snapshots and a database that has not been compacted
	logRoom  = 512 << 20
)
