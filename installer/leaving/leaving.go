// Package leaving takes hosts out of a cluster that goes on: it finds what is lost with them, moves their pods away, takes
// their members out of etcd and their Nodes out of the cluster.
package leaving

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Leaving takes the hosts of [fleet.Fleet] that leave out of the cluster.
type Leaving struct {
	*site.Site
	Members members.Members
}

// Live are the hosts that leave and answer.
func (l *Leaving) Live() []*fleet.Target {
	return fleet.Only(l.Site.Leaving, func(t *fleet.Target) bool { return !t.Dead })
}

// NodeOf gives the Node of a host that leaves, by what the cluster said when the run began.
func (l *Leaving) NodeOf(t *fleet.Target) (kube.Node, bool) {
	for _, node := range l.Known {
		if node.IP == t.IP.String() {
			return node, true
		}
	}
	return kube.Node{}, false
}

// apiManifest is the static pod of the API server on a master.
const apiManifest = installer.KubeDir + "/manifests/kube-apiserver.yaml"

// apiProgram is what the API server is called among the processes of its host.
const apiProgram = "kube-apiserver"

// stopPatience is how long an API server may take to end: it refuses new requests first, and serves those under way.
const stopPatience = 45 * time.Second

// Leave takes a host out of the cluster that answers and was drained. A master's API server ends first, as it does by itself
// when its host is switched off in order: until then clients still reach it. Then its member leaves etcd, and its Node goes.
func (l *Leaving) Leave(ctx context.Context, t *fleet.Target, step string) error {
	var api []agent.File
	if t.BegunKubeadm() {
		// If an installation follows instead of the rest of this run, the host joins anew.
		if err := t.Journal.Set(ctx, journal.KubeadmBegun, l.Cluster.Name); err != nil {
			return err
		}
		if err := t.Journal.Drop(ctx, journal.KubeadmDone); err != nil {
			return err
		}
		if t.Master {
			var err error
			if api, err = l.stopAPI(ctx, t); err != nil {
				return err
			}
		}
	}
	if t.Master {
		if err := l.Members.Leave(ctx, t, step); err != nil {
			if len(api) > 0 && ctx.Err() == nil { // the host stays for now, and the cluster may have few API servers
				_, back := t.Agent.WriteFiles(ctx, api)
				err = errors.Join(err, back)
			}
			return err
		}
	}
	if t.BegunKubeadm() { // a kubelet that starts once more would register its Node again
		if _, err := l.Exec(ctx, t, step, "systemctl", "stop", "kubelet"); err != nil {
			return fmt.Errorf("stop kubelet: %w", err)
		}
	}
	return l.deleteNode(ctx, t)
}

// stopAPI ends the API server of a master. before is what to write to start it again; nothing if it was stopped already.
func (l *Leaving) stopAPI(ctx context.Context, t *fleet.Target) (before []agent.File, err error) {
	found, err := t.Agent.ReadFiles(ctx, []string{apiManifest})
	if err != nil || found[apiManifest] == nil {
		return nil, err
	}
	before = []agent.File{{Path: apiManifest, Mode: 0o600, Content: found[apiManifest]}}
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: apiManifest, Remove: true}}); err != nil {
		return nil, err
	}
	err = installer.Insist(ctx, min(stopPatience, l.Timeout), func(ctx context.Context) error {
		f, err := t.Agent.Facts(ctx, agent.FactsRequest{Lean: true, Programs: []string{apiProgram}})
		if err == nil && f.Programs[apiProgram] {
			err = fmt.Errorf("kubelet has not ended it")
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		l.Report.Warnf("%s: its API server does not end by itself; it ends with all that kubeadm reset removes: %s", t.IP, installer.TellAt(err, t.IP.String()))
		return before, nil
	}
	return before, err
}

// deleteNode deletes the Node of a host, if there is one.
func (l *Leaving) deleteNode(ctx context.Context, t *fleet.Target) error {
	node, there := l.NodeOf(t)
	if !there {
		return nil
	}
	err := installer.Insist(ctx, l.APIPatience(), func(ctx context.Context) error {
		_, err := l.Kube.Kubectl(ctx, "delete", "node", node.Name, "--ignore-not-found", "--wait=false")
		return err
	})
	if err != nil {
		return fmt.Errorf("delete node %s: %w", node.Name, err)
	}
	return nil
}

// silencePatience is how long the cluster may take to notice that a host is switched off: its lease ends after 40 s, and a busy
// cluster takes longer to look.
const silencePatience = 3 * time.Minute

// Silent waits until the cluster takes the host for dead, too. A host that only this machine does not reach must not be
// declared dead: its pods would run twice.
func (l *Leaving) Silent(ctx context.Context, t *fleet.Target) error {
	node, there := l.NodeOf(t)
	if !there {
		return nil
	}
	told := false
	return installer.Insist(ctx, min(silencePatience, l.Timeout), func(ctx context.Context) error {
		nodes, err := l.Kube.Nodes(ctx)
		if err != nil {
			return err
		}
		now, there := kube.NodeOf(nodes, kube.Host{IP: t.IP, Node: node.Name})
		if !there || now.Ready != "True" {
			return nil
		}
		if !told {
			l.Report.Infof("%s: waiting until the cluster notices that it is dead", t.IP)
			told = true
		}
		return fmt.Errorf("node %s is Ready: its kubelet reports, so the host is not dead and only this machine does not reach it (switch it off, or give this machine a way to it and leave --dead out)", node.Name)
	})
}

// LeaveDead takes a host out of the cluster that is switched off for good: its member leaves etcd, its pods and volumes are
// released, and its Node goes.
func (l *Leaving) LeaveDead(ctx context.Context, t *fleet.Target, patience time.Duration) error {
	if err := l.Silent(ctx, t); err != nil { // it may have come back since the operator was asked
		return err
	}
	if err := l.Members.TakeOut(ctx, t); err != nil {
		return err
	}
	node, there := l.NodeOf(t)
	if !there {
		return nil
	}
	err := installer.Insist(ctx, l.APIPatience(), func(ctx context.Context) error {
		nodes, err := l.Kube.Nodes(ctx)
		if err != nil {
			return err
		}
		if _, there = kube.NodeOf(nodes, kube.Host{IP: t.IP, Node: node.Name}); there {
			err = l.Kube.OutOfService(ctx, node.Name)
		}
		return err
	})
	if err != nil || !there {
		return err
	}
	left, err := l.Kube.Released(ctx, node.Name, patience)
	if err != nil {
		return fmt.Errorf("release the pods and volumes of node %s: %w", node.Name, err)
	}
	if len(left) > 0 {
		l.Report.Warnf("%s: the cluster still has these of it; they go with its Node: %s", t.IP, installer.NameSome(left))
	}
	if err := l.bar(ctx, t, node.Name); err != nil {
		return err
	}
	return l.deleteNode(ctx, t)
}

// bar makes the cluster refuse the Node of a dead host that may come back with its old disk.
func (l *Leaving) bar(ctx context.Context, t *fleet.Target, node string) error {
	var err error
	try := func(ctx context.Context) error {
		if err = l.Kube.Bar(ctx, node); errors.Is(err, kube.ErrNoBar) {
			return nil
		}
		return err
	}
	if lasting := installer.Insist(ctx, l.APIPatience(), try); lasting != nil {
		err = lasting
	}
	if err != nil && ctx.Err() == nil {
		l.Report.Warnf("%s: keep it switched off, or wipe its disk: if it comes back as it was, its Node is in the cluster again, and pods may run there; `sealinstall status` tells of it then. The cluster does not refuse it: %s",
			t.IP, installer.Tell(err))
		return nil
	}
	return ctx.Err()
}
