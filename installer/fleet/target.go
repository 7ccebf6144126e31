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

// Target is one host during a run. Only the goroutine that works on the host writes its fields.
type Target struct {
	installer.Host
	Link    host.Host // nil before the host is reached
	Agent   *agent.Agent
	Facts   agent.Facts
	Journal journal.Journal // of this cluster

	Arch      string           // architecture; empty unless the bundle is for several
	Variant   []*payload.Image // the images of that architecture; nil where the first master has the same
	Connected bool             // the host is reached, and has the stub
	Looked    bool             // facts and marks are known
	Stub      string           // path of this run's stub on the host; empty before it is brought, and once it is taken away
	putStub   bool             // this run brought the stub
	stubUsed  bool             // units and scripts use the stub of this run
	left      bool             // this run has tried to take the stub away

	// What one step writes for another. The opening of every pipeline ([site.Site.Open]) writes the first three.

	Skew         time.Duration    // how far the host's clock is ahead of ours; check and health.Health.Answers read it
	WorkedBefore bool             // an earlier run has run scripts of images there; imagedirs.Dirs.CheckAgain reads it
	EtcdManifest string           // data directory that the manifest of an etcd on the host names; site and members read it, a reset clears it
	Expelled     bool             // it was taken out of the cluster while it was away, and has come back as it was: ledger.MeetRecord writes it
	Dead         bool             // it leaves, does not answer, and never will: site.Open writes it, delete reads it
	Gone         bool             // the host has joined, but has no Node any more: health, in check and init-master0, writes it; nodes.RegisterAgain reads it
	Checked      string           // inputs with which the image's check script passed in this run: check writes it, distribute-rootfs sets the mark
	Overlays     payload.Overlays // files rendered for the host: render writes them; distribute-rootfs, bootstrap and guest read them
}

// Begun tells whether this cluster was ever begun on the host.
func (t *Target) Begun() bool { return !t.Journal.Empty() }

// Joined tells whether kubeadm came to its end on the host, for this cluster.
func (t *Target) Joined() bool { return !t.Expelled && t.Journal.Has(journal.KubeadmDone) }

// BegunKubeadm tells whether kubeadm ever began on the host, for this cluster.
func (t *Target) BegunKubeadm() bool {
	return t.Journal.Has(journal.KubeadmBegun) || t.Journal.Has(journal.KubeadmDone)
}

// NodeName is the name of the host's Node: its host name in lower case, as kubelet uses it. The preflight refuses one that
// is not valid.
func (t *Target) NodeName() string { return strings.ToLower(t.Facts.Hostname) }

// Names are the names of the host in /etc/hosts: that of its Node, and its host name where that is spelled otherwise.
func (t *Target) Names() []string {
	if t.Facts.Hostname == "" {
		return nil
	}
	return slices.Compact([]string{t.NodeName(), t.Facts.Hostname})
}

// Role is the role of the host as flags and files name it: master or node.
func (t *Target) Role() string {
	if t.Master {
		return "master"
	}
	return "node"
}

// InCluster tells whether the host was looked at, and is in the cluster.
func (t *Target) InCluster() bool { return t.Looked && t.Joined() }

// Failed says of an error that it is this host's; nil of nil.
func (t *Target) Failed(err error) error {
	if err == nil {
		return nil
	}
	return &installer.HostError{Host: t.IP.String(), Err: err}
}

// Stopped says what does not run of a host that is in the cluster; it is empty if all does.
func (t *Target) Stopped() string {
	if !t.InCluster() {
		return ""
	}
	return StoppedIn(t.Facts)
}

// StoppedIn says which of the runtimes and programs that a host was asked about do not run, by its facts; it is empty if
// all do.
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
