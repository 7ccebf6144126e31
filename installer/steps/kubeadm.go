package steps

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// kubeadmFile is where an image may carry kubeadm documents of its own.
const kubeadmFile = "etc/kubeadm.yml"

// kubeadmInput is what the documents of a host depend on.
func (r *Run) kubeadmInput(kind kubeadm.Kind, t *fleet.Target) kubeadm.Input {
	return r.kubeadmInputFor(kind, t, r.share(t))
}

// kubeadmInputFor is the same for a host whose templates were rendered, and not kept.
func (r *Run) kubeadmInputFor(kind kubeadm.Kind, t *fleet.Target, share payload.Share) kubeadm.Input {
	ipvs := true
	for _, h := range r.Targets {
		ipvs = ipvs && h.Facts.Modules["ip_vs"]
	}
	env := share.RootfsEnv()
	socket := env["SEALOS_SYS_CRI_ENDPOINT"]
	if socket != "" && !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	return kubeadm.Input{
		Kind: kind, KubernetesVersion: r.Payload.Rootfs().KubeVersion(), VIP: r.Payload.VIP(r.Cluster), Masters: r.Cluster.MasterIPs(),
		Through:     r.Master0().IP.String(),
		Node:        kubeadm.Node{IP: t.IP.String(), Hostname: t.NodeName(), Master: t.Master},
		APIEndpoint: net.JoinHostPort(installer.APIServerDomain, strconv.Itoa(installer.APIServerPort)),
		CRISocket:   socket, ImageSocket: env["SEALOS_SYS_IMAGE_ENDPOINT"], Discovery: r.discoveryFile(),
		ImageDocs: share.Documents(kubeadmFile), UserDocs: r.Cluster.Kubeadm, ResolvConf: r.resolvConf(),
		SingleNode: len(r.Cluster.Hosts) == 1, IPVS: ipvs, EtcdDataDir: r.defaultDataDir(), IgnorePreflight: r.ignoredChecks(t),
		ImageRepository: strings.TrimSuffix(r.heldPrefix(t), "/"),
	}
}

// discoveryFile is the kubeconfig with which a host joins.
func (r *Run) discoveryFile() string { return r.dir("etc", "discovery.conf") }

// discovery is the file itself, for a token made for the purpose.
func (r *Run) discovery(in kubeadm.Input, token string) (agent.File, error) {
	data, err := kubeadm.DiscoveryFile(in, r.pki.CA(), token)
	return agent.File{Path: r.discoveryFile(), Mode: 0o600, Content: data}, err
}

// prepareKubeadm writes the files that kubeadm finds on a host.
func (r *Run) prepareKubeadm(ctx context.Context, t *fleet.Target, in kubeadm.Input, extra []agent.File) (config string, err error) {
	docs, err := kubeadm.Render(in)
	if err != nil {
		return "", err
	}
	data, err := docs.YAML()
	if err != nil {
		return "", err
	}
	config = r.dir("etc", "kubeadm.yaml")
	files := append(extra, agent.File{Path: config, Mode: 0o600, Content: data})
	if t.Master {
		files = append(files, agent.File{Path: kubeadm.AuditPolicyPath, Mode: 0o600, Content: r.auditPolicy(t)})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return "", fmt.Errorf("write kubeadm's files: %w", err)
	}
	return config, nil
}

// auditPolicy is what the API server is told to read: the images' or, since it
// does not start without one, that of the installer.
func (r *Run) auditPolicy(t *fleet.Target) []byte {
	policies := append([][]byte{[]byte(kubeadm.DefaultAuditPolicy)}, r.share(t).Documents("statics/audit-policy.yml")...)
	return policies[len(policies)-1]
}

// runKubeadm runs init or join once and only once per host. Before it begins it
// says so on the host; where an earlier run said so and did not come to an end,
// the host is first taken back to where it was.
func (r *Run) runKubeadm(ctx context.Context, t *fleet.Target, step string, prepare func(context.Context) (string, error), argv ...string) error {
	if t.Journal.Has(journal.KubeadmBegun) {
		if err := r.undoKubeadm(ctx, t, step); err != nil {
			return err
		}
	}
	if err := r.prepareEtcd(ctx, t); err != nil {
		return err
	}
	if err := t.Journal.Set(ctx, journal.KubeadmBegun, r.Cluster.Name); err != nil {
		return err
	}
	config, err := prepare(ctx)
	if err != nil {
		return err
	}
	_, err = r.ExecWith(ctx, t, step, agent.ExecRequest{
		Argv: append(append([]string{"kubeadm"}, argv...), "--config", config),
		// Nothing reads the files again, and one holds a token.
		Then: []agent.File{{Path: config, Remove: true}, {Path: r.discoveryFile(), Remove: true}, t.Journal.File(journal.KubeadmDone, r.Cluster.Name)},
	})
	if err == nil {
		t.Journal.Note(journal.KubeadmDone, r.Cluster.Name)
	}
	return err
}

// undoKubeadm takes a host back to where it was before a kubeadm that was interrupted: out of etcd first, while that has
// its majority, and nothing is removed before.
func (r *Run) undoKubeadm(ctx context.Context, t *fleet.Target, step string) error {
	r.Report.Infof("%s: an earlier kubeadm was interrupted here; it is undone first", t.IP)
	if err := r.leaveEtcd(ctx, t, step); err != nil {
		return err
	}
	return r.kubeadmReset(ctx, t, step, func() error {
		if t == r.Master0() {
			return nil
		}
		// For most of a minute the cluster takes the node for Ready, and kubeadm does not join a second one of its name.
		return r.dropNode(ctx, t)
	})
}

// kubeadmReset removes from a host what kubeadm made. Its member is out of etcd by then: kubeadm's own phase for that
// empties etcd's directory on every host, whoever's the files are, also if it could not remove the member.
func (r *Run) kubeadmReset(ctx context.Context, t *fleet.Target, step string, also func() error) error {
	argv := []string{"kubeadm", "reset", "--force", "--skip-phases=remove-etcd-member"}
	if socket := r.share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]; socket != "" {
		argv = append(argv, "--cri-socket", "unix://"+strings.TrimPrefix(socket, "unix://"))
	}
	// kubeadm removes the manifest, which may be all that says where etcd's data are.
	if d, ok := etcdData(t); ok && !t.Journal.Has(journal.EtcdData) {
		if err := t.Journal.Set(ctx, journal.EtcdData, d.String()); err != nil {
			return err
		}
	}
	// From here on the host is no part of the cluster; from the end on nothing is left to undo.
	if err := t.Journal.Drop(ctx, journal.KubeadmDone); err != nil {
		return err
	}
	if _, err := r.ExecWith(ctx, t, step, r.sparing(agent.ExecRequest{Argv: argv})); err != nil {
		return err
	}
	if err := r.tidyKubernetes(ctx, t, false); err != nil {
		return err
	}
	t.EtcdManifest = ""
	if err := r.clearData(ctx, t, step); err != nil {
		return err
	}
	if err := also(); err != nil {
		return err
	}
	return t.Journal.Drop(ctx, journal.KubeadmBegun)
}

// joinToken makes what a host needs to join: a token that lives two hours.
func (r *Run) joinToken(ctx context.Context) (token string, err error) {
	err = installer.Insist(ctx, r.apiPatience(), func(ctx context.Context) (err error) {
		token, err = r.kubeadmToken(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make a token for joining: %w", err)
	}
	r.Report.Hide(token)
	return token, nil
}

func (r *Run) kubeadmToken(ctx context.Context) (token string, err error) {
	err = r.kube.Ask(ctx, func(ctx context.Context, p kube.ControlPlane) error {
		res, err := p.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"kubeadm", "--kubeconfig", adminConf, "token", "create", "--ttl", "2h"}, TimeoutSeconds: 30}, nil)
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
	})
	return token, err
}
