package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Target is one host during a run. Its fields are set by the check step and
// belong to the goroutine that works on the host.
type Target struct {
	installer.Host
	Link  host.Host
	Agent *agent.Agent
	Facts agent.Facts

	Skew         time.Duration // how far the host's clock is ahead of ours
	Overlays     payload.Overlays
	Journal      journal.Journal  // what was done there, for this cluster
	Arch         string           // where the bundle is for several
	Variant      []*payload.Image // of its architecture, where that is not the first master's
	Connected    bool             // it is reached, and has the stub
	Looked       bool             // facts and marks are known
	Gone         bool             // it has joined, but the cluster has no node of it: somebody deleted that
	WorkedBefore bool             // scripts of images have run there before, in an earlier run
	Stub         string           // this run's installer there; empty before it was brought and when it was taken away
	putStub      bool             // this run brought it
	stubUsed     bool             // it is the one that units and scripts use
	left         bool             // it was to be taken away
	Checked      string           // inputs with which the image's check script was passed now or before
	// etcdManifest is the data directory that the manifest of an etcd on the host names.
	EtcdManifest string
}

// Begun tells whether this cluster was ever begun on the host.
func (t *Target) Begun() bool { return !t.Journal.Empty() }

// Joined tells whether this cluster's kubeadm came to its end on the host.
func (t *Target) Joined() bool { return t.Journal.Has(journal.KubeadmDone) }

// BegunKubeadm tells whether kubeadm ever began on the host, for this cluster.
func (t *Target) BegunKubeadm() bool {
	return t.Journal.Has(journal.KubeadmBegun) || t.Journal.Has(journal.KubeadmDone)
}

// NodeName is the name of the host's node: its host name in lower case, as
// kubelet has it. The preflight has found it to be a valid one.
func (t *Target) NodeName() string { return strings.ToLower(t.Facts.Hostname) }

// Names are those of the host in /etc/hosts: that of its node, and as it spells it itself.
func (t *Target) Names() []string {
	if t.Facts.Hostname == "" {
		return nil
	}
	return slices.Compact([]string{t.NodeName(), t.Facts.Hostname})
}

// Role is what the host is in the cluster, as flags and files name it.
func (t *Target) Role() string {
	if t.Master {
		return "master"
	}
	return "node"
}

// Stopped says what does not run of a host that is in the cluster; empty if all does.
func (t *Target) Stopped() string {
	if !t.Looked || !t.Joined() {
		return ""
	}
	return StoppedIn(t.Facts)
}

// StoppedIn says what of those that were asked for does not run, by the facts of a host.
func StoppedIn(f agent.Facts) string {
	var out []string
	for socket, answers := range f.Sockets {
		if !answers {
			out = append(out, "the container runtime does not answer at "+socket)
		}
	}
	for program, runs := range f.Programs {
		if !runs {
			out = append(out, program+" does not run")
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
