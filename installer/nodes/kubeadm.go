// Package nodes makes hosts nodes of a cluster by kubeadm, brings Nodes back that somebody deleted, and takes hosts out
// again, with their kubeconfigs.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Nodes makes hosts nodes of the cluster, brings Nodes back, and takes hosts out of it.
type Nodes struct {
	*site.Site
	Secrets *secrets.Secrets
	Members members.Members
}

// Discovery is the discovery file with which a host joins, with a token in it.
func (n *Nodes) Discovery(in kubeadm.Input, token string) (agent.File, error) {
	data, err := kubeadm.DiscoveryFile(in, n.Secrets.PKI.CA(), token)
	return agent.File{Path: n.DiscoveryFile(), Mode: 0o600, Content: data}, err
}

// Prepare writes the files that kubeadm finds on a host, and others with them. It returns the path of the documents.
func (n *Nodes) Prepare(ctx context.Context, t *fleet.Target, in kubeadm.Input, extra []agent.File) (config string, err error) {
	data, err := site.KubeadmYAML(in)
	if err != nil {
		return "", err
	}
	config = n.Dir("etc", "kubeadm.yaml") //docs:file hosts /var/lib/sealos/data/<cluster>/etc/kubeadm.yaml: the documents that kubeadm was given
	files := append(extra, agent.File{Path: config, Mode: 0o600, Content: data})
	if t.Master {
		files = append(files, agent.File{Path: kubeadm.AuditPolicyPath, Mode: 0o600, Content: n.AuditPolicy(t)})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return "", fmt.Errorf("write kubeadm's files: %w", err)
	}
	return config, nil
}

// Run runs kubeadm init or join (argv) on a host, exactly once. prepare writes the documents and returns their path. A mark
// says on the host that kubeadm begins, another one that it has ended. A host with the first mark is reset before.
func (n *Nodes) Run(ctx context.Context, t *fleet.Target, step string, prepare func(context.Context) (string, error), argv ...string) error {
	if t.Journal.Has(journal.KubeadmBegun) {
		if err := n.undo(ctx, t, step); err != nil {
			return err
		}
	}
	if err := n.Members.Prepare(ctx, t); err != nil {
		return err
	}
	if err := t.Journal.Set(ctx, journal.KubeadmBegun, n.Cluster.Name); err != nil {
		return err
	}
	config, err := prepare(ctx)
	if err != nil {
		return err
	}
	_, err = n.ExecWith(ctx, t, step, agent.ExecRequest{
		Argv: append(append([]string{"kubeadm"}, argv...), "--config", config),
		// Nothing reads the files again, and one holds a token.
		Then: []agent.File{{Path: config, Remove: true}, {Path: n.DiscoveryFile(), Remove: true}, t.Journal.File(journal.KubeadmDone, n.Cluster.Name)},
	})
	if err == nil {
		t.Journal.Note(journal.KubeadmDone, n.Cluster.Name)
	}
	return err
}

// undo resets a host on which kubeadm was interrupted. Its member leaves etcd first; if that fails, nothing is removed.
func (n *Nodes) undo(ctx context.Context, t *fleet.Target, step string) error {
	n.Report.Infof("%s: an earlier kubeadm was interrupted here; it is undone first", t.IP)
	if err := n.Members.Leave(ctx, t, step); err != nil {
		return err
	}
	return n.Reset(ctx, t, step, func() error {
		if t == n.Master0() {
			return nil
		}
		// For most of a minute the cluster takes the Node for Ready, and kubeadm joins no second one of that name.
		return n.Members.DropNode(ctx, t)
	})
}

// Reset removes from a host what kubeadm made, and then runs also. The member of the host has left etcd before: the phase
// of kubeadm that takes it out empties etcd's directory on every host, even if the files are not the cluster's, or the
// member could not be removed.
func (n *Nodes) Reset(ctx context.Context, t *fleet.Target, step string, also func() error) error {
	argv := []string{"kubeadm", "reset", "--force", "--skip-phases=remove-etcd-member"}
	if socket := n.Share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]; socket != "" {
		argv = append(argv, "--cri-socket", "unix://"+strings.TrimPrefix(socket, "unix://"))
	}
	// kubeadm removes the manifest, which may be all that says where etcd's data are.
	if d, ok := site.EtcdData(t); ok && !t.Journal.Has(journal.EtcdData) {
		if err := t.Journal.Set(ctx, journal.EtcdData, d.String()); err != nil {
			return err
		}
	}
	// From here on the host is not in the cluster; once KubeadmBegun is gone, too, nothing is left to undo.
	if err := t.Journal.Drop(ctx, journal.KubeadmDone, journal.Settings); err != nil {
		return err
	}
	if _, err := n.ExecWith(ctx, t, step, n.sparing(agent.ExecRequest{Argv: argv})); err != nil {
		return err
	}
	if err := n.Tidy(ctx, t, false); err != nil {
		return err
	}
	t.EtcdManifest = ""
	if err := n.Members.ClearData(ctx, t, step); err != nil {
		return err
	}
	if err := also(); err != nil {
		return err
	}
	return t.Journal.Drop(ctx, journal.KubeadmBegun)
}

// Admit makes a token with which hosts join; it lives two hours. If the cluster refuses their Nodes, because they were taken out
// while they were dead, it does so no longer.
func (n *Nodes) Admit(ctx context.Context, hosts ...*fleet.Target) (token string, err error) {
	var names []string
	for _, t := range hosts {
		names = append(names, t.NodeName())
	}
	err = installer.Insist(ctx, n.APIPatience(), func(ctx context.Context) error { return n.Kube.Unbar(ctx, names...) })
	if err != nil {
		return "", fmt.Errorf("let the cluster take in the nodes %s: %w", installer.NameSome(names), err)
	}
	create := func(ctx context.Context, p kube.ControlPlane) error {
		res, err := p.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"kubeadm", "--kubeconfig", installer.AdminConf, "token", "create", "--ttl", "2h"}, TimeoutSeconds: 30}, nil)
		if err != nil {
			return err
		}
		if res.Code != 0 {
			return &installer.CommandError{Host: p.IP.String(), Command: "kubeadm token create", Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
		}
		out, err := res.Whole()
		if token = strings.TrimSpace(string(out)); err == nil && token == "" {
			return errors.New("kubeadm token create printed nothing")
		}
		return err
	}
	err = installer.Insist(ctx, n.APIPatience(), func(ctx context.Context) error { return n.Kube.Ask(ctx, create) })
	if err != nil {
		return "", fmt.Errorf("make a token for joining: %w", err)
	}
	n.Report.Hide(token)
	return token, nil
}
