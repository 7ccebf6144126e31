package members

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Prepare makes sure, before kubeadm joins a host, that the cluster can take it in, and etcd the member of a master. It
// removes what an earlier life of the host left in the cluster, and gives an error for anything else in the way. Without it
// kubeadm waits until its time is over, and does not say for what.
func (e Members) Prepare(ctx context.Context, t *fleet.Target) error {
	if !t.Master {
		if _, there := kube.NodeOf(e.Known, site.KubeHost(t)); !there {
			return nil
		}
		e.Report.Infof("%s: the cluster has node %s of an earlier life of this host: it is deleted first", t.IP, t.NodeName())
		return e.DropNode(ctx, t)
	}
	dir, external, err := e.EtcdSettings(t)
	if err != nil || external {
		return err
	}
	if others := e.beside(t); len(others) > 0 {
		if err := e.dropStale(ctx, t, others); err != nil {
			return err
		}
	}
	return e.claim(ctx, t, dir)
}

// dropStale removes the member and the Node that a master has in the cluster although it is about to join: its disk was
// lost, or an earlier join was cut off. It is an error if members of other hosts do not answer.
func (e Members) dropStale(ctx context.Context, t *fleet.Target, others []*fleet.Target) error {
	var c etcd.Cluster
	err := installer.Insist(ctx, e.patience(), func(ctx context.Context) (err error) {
		if c, err = e.askAny(ctx, others, "members"); err != nil {
			return err
		}
		if all, answer := c.Voters(); !c.Leader || answer <= all/2 {
			return fmt.Errorf("etcd has no majority: %d of its %s %s", answer, count.Of(all, "voting member"), count.Word(all, "answers", "answer"))
		}
		for _, m := range c.Members {
			if host := e.masterAt(m); !m.Answers && host != nil && host.Joined() {
				return fmt.Errorf("the member of %s does not answer: %s", host.IP, m.Error) // its host may have been switched on just now
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask etcd whether it can take in a member: %w\n  %s", err, e.remedy(ctx, t, others))
	}
	drop := []string{}
	for _, m := range c.Members {
		host := e.masterAt(m)
		switch {
		case m.At(t.IP.String()):
			e.Report.Infof("%s: etcd has a member of this host, which is not in the cluster: it is taken out first", t.IP)
			drop = append(drop, t.IP.String())
		case m.Answers:
		case host != nil && !host.Joined() && m.Learner && !m.Started():
			drop = append(drop, host.IP.String()) // it never started, and will not until its host joins anew
		case !m.Started() || host == nil:
			return staleMember(m, others[0])
		}
	}
	for _, ip := range drop {
		err := installer.Insist(ctx, e.patience(), func(ctx context.Context) error {
			_, err := e.askAny(ctx, others, "remove", "--peer", ip)
			return err
		})
		if err != nil {
			return fmt.Errorf("take the member of %s out of etcd: %w\n  %s", ip, err, e.remedy(ctx, t, others))
		}
	}
	return e.DropNode(ctx, t)
}

// masterAt gives the master of the run that a member belongs to; nil if there is none.
func (e Members) masterAt(of etcd.Member) *fleet.Target {
	i := slices.IndexFunc(e.Targets, func(t *fleet.Target) bool { return t.Master && of.At(t.IP.String()) })
	if i < 0 {
		return nil
	}
	return e.Targets[i]
}

// staleMember is the error for a member that keeps etcd from taking in another one.
func staleMember(m etcd.Member, at *fleet.Target) error {
	state := "does not answer (" + m.Error + ")"
	if !m.Started() {
		state = "was added and never started"
	}
	return fmt.Errorf("etcd has a member of %s, a host that is not among those of this command, and it %s: kubeadm would wait for it in vain "+
		"(bring that host back or name it among --masters; if it is gone for good, take it out: sealinstall delete --dead --masters %s; if the cluster has no record of it, on %s: %s etcd remove --peer %s)",
		m.Host(), state, m.Host(), at.IP, installer.StubPath, m.Host())
}

// forgetPods removes the pods of an earlier life of a host, on which nothing runs now. The cluster would take most of a minute,
// and a kubelet that joins before that takes them for its own: the pod network's among them, which then says nothing of the
// new Node's network.
func (e Members) forgetPods(ctx context.Context, t *fleet.Target) error {
	err := installer.Insist(ctx, e.APIPatience(), func(ctx context.Context) error {
		_, err := e.Kube.Kubectl(ctx, "delete", "pods", "--all-namespaces", "--field-selector", "spec.nodeName="+t.NodeName(), "--force", "--grace-period=0", "--ignore-not-found", "--wait=false")
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the pods of an earlier life of node %s: %w", t.NodeName(), err)
	}
	return nil
}

type nodeAddress struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// DropNode deletes the Node that a host has in the cluster from an earlier life. A Node of that name with another address
// belongs to another host, and stays.
func (e Members) DropNode(ctx context.Context, t *fleet.Target) error {
	foreign := false
	err := installer.Insist(ctx, e.APIPatience(), func(ctx context.Context) error {
		raw, err := e.Kube.Kubectl(ctx, "get", "node", t.NodeName(), "-o", "json", "--ignore-not-found")
		if err != nil || len(strings.TrimSpace(string(raw))) == 0 {
			return err
		}
		var n struct {
			Status struct {
				Addresses []nodeAddress `json:"addresses"`
			} `json:"status"`
		}
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("decode node %s: %w", t.NodeName(), err)
		}
		others := slices.ContainsFunc(n.Status.Addresses, func(a nodeAddress) bool { return a.Type == "InternalIP" })
		if others && !slices.Contains(n.Status.Addresses, nodeAddress{"InternalIP", t.IP.String()}) {
			foreign = true
			return nil // if that one lives, kubeadm refuses to join the host
		}
		_, err = e.Kube.Kubectl(ctx, "delete", "node", t.NodeName(), "--ignore-not-found", "--wait=false")
		return err
	})
	if err != nil {
		return fmt.Errorf("delete node %s: %w", t.NodeName(), err)
	}
	if foreign {
		return nil
	}
	return e.forgetPods(ctx, t)
}
