package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/node"
)

// kubeadmFile is where an image may carry kubeadm documents of its own.
const kubeadmFile = "etc/kubeadm.yml"

// documents renders what kubeadm reads on a host.
func (r *Run) documents(kind kubeadm.Kind, t *Target, token string, hashes []string) (kubeadm.Documents, error) {
	var imageDocs [][]byte
	for _, i := range r.images {
		if f, ok := i.files[kubeadmFile]; ok && i.Type != installer.TypeApplication {
			imageDocs = append(imageDocs, f.Content)
		}
		if f, ok := t.overlays[i][kubeadmFile]; ok && i.Type != installer.TypeApplication {
			imageDocs = append(imageDocs, f.Content)
		}
	}
	ipvs := true
	for _, h := range r.Targets {
		ipvs = ipvs && h.Facts.Modules["ip_vs"]
	}
	resolv := ""
	if len(t.Facts.Nameservers) == 0 {
		resolv = r.resolvConf()
	}
	env := r.envOf(r.rootfs(), t)
	socket := env["SEALOS_SYS_CRI_ENDPOINT"]
	if socket != "" && !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	return kubeadm.Render(kubeadm.Input{
		Kind: kind, KubernetesVersion: r.rootfs().KubeVersion(), VIP: r.vip(), Masters: r.Cluster.MasterIPs(),
		Node:        kubeadm.Node{IP: t.IP.String(), Hostname: t.nodeName(), Master: t.Master},
		APIEndpoint: net.JoinHostPort(installer.APIServerDomain, strconv.Itoa(installer.APIServerPort)),
		CRISocket:   socket, Token: token, CACertHashes: hashes,
		ImageDocs: imageDocs, UserDocs: r.Cluster.Kubeadm, ResolvConf: resolv,
		SingleNode: len(r.Targets) == 1, IPVS: ipvs,
	})
}

// resolvConf is the file that kubelet gives to pods on a host without a
// nameserver. CoreDNS fails to start when it has nowhere to forward to; with a
// server that refuses at once it serves the cluster's own names.
func (r *Run) resolvConf() string { return r.dir("etc", "resolv.conf") }

// prepareKubeadm writes the files that kubeadm finds on a host.
func (r *Run) prepareKubeadm(ctx context.Context, t *Target, docs kubeadm.Documents, extra []node.File) (config string, err error) {
	data, err := docs.YAML()
	if err != nil {
		return "", err
	}
	config = r.dir("etc", "kubeadm.yaml")
	files := append(extra,
		node.File{Path: config, Mode: 0o600, Content: data},
		node.File{Path: r.resolvConf(), Mode: 0o644, Content: []byte("# this host has no nameserver; " + t.IP.String() + " refuses at once\nnameserver " + t.IP.String() + "\n")},
	)
	if policy, ok := r.rootfs().files["statics/audit-policy.yml"]; ok && t.Master {
		files = append(files, node.File{Path: path.Join(etcKube, "audit-policy.yml"), Mode: 0o600, Content: policy.Content})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return "", fmt.Errorf("write kubeadm's files: %w", err)
	}
	return config, nil
}

// runKubeadm runs init or join once and only once per host. Before it begins it
// says so on the host; where an earlier run said so and did not come to an end,
// the host is first taken back to where it was.
func (r *Run) runKubeadm(ctx context.Context, t *Target, step string, prepare func(context.Context) (string, error), argv ...string) error {
	if t.marks[markBegun] != "" {
		r.Report.Infof("%s: an earlier kubeadm was interrupted here; it is undone first", t.IP)
		if err := r.kubeadmReset(ctx, t, step); err != nil {
			return err
		}
	}
	if err := r.setMark(ctx, t, markBegun, r.Cluster.Name); err != nil {
		return err
	}
	config, err := prepare(ctx)
	if err != nil {
		return err
	}
	if _, err := r.exec(ctx, t, step, append(append([]string{"kubeadm"}, argv...), "--config", config)...); err != nil {
		return err
	}
	if err := r.setMark(ctx, t, markJoined, r.Cluster.Name); err != nil {
		return err
	}
	// It may hold a token; nothing reads it again.
	_, err = t.Agent.WriteFiles(ctx, []node.File{{Path: config, Remove: true}})
	return err
}

// kubeadmReset takes a host out of the cluster as far as kubeadm can.
func (r *Run) kubeadmReset(ctx context.Context, t *Target, step string) error {
	argv := []string{"kubeadm", "reset", "--force"}
	if socket := r.envOf(r.rootfs(), t)["SEALOS_SYS_CRI_ENDPOINT"]; socket != "" {
		argv = append(argv, "--cri-socket", "unix://"+strings.TrimPrefix(socket, "unix://"))
	}
	if _, err := r.exec(ctx, t, step, argv...); err != nil {
		return err
	}
	// From here on nothing of kubeadm is left to undo.
	for _, mark := range []string{markJoined, markBegun} {
		if _, err := t.Agent.WriteFiles(ctx, []node.File{{Path: r.markPath(mark), Remove: true}}); err != nil {
			return err
		}
		delete(t.marks, mark)
	}
	return nil
}

// joined tells whether this cluster's kubeadm came to its end on a host.
func (t *Target) joined() bool { return t.marks[markJoined] != "" }

// joinSecret is what a host needs to join: a token that lives two hours.
func (r *Run) joinSecret(ctx context.Context) (token string, hashes []string, err error) {
	var out string
	err = insist(ctx, apiPatience, func(ctx context.Context) (err error) {
		out, err = r.kubeadmToken(ctx)
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("make a token for joining: %w", err)
	}
	r.Report.Hide(out)
	if err := r.waitSigned(ctx, out); err != nil {
		return "", nil, err
	}
	hash, err := r.pki.CAHash()
	if err != nil {
		return "", nil, err
	}
	return out, []string{hash}, nil
}

// signaturePatience is how long the control plane may take to sign a token.
const signaturePatience = 30 * time.Second

// waitSigned waits until hosts that join with the token find the signature by
// which they know the cluster. kubeadm asks for it every five seconds only, and
// its first question nearly always comes too early.
func (r *Run) waitSigned(ctx context.Context, token string) error {
	id, _, _ := strings.Cut(token, ".")
	wctx, cancel := context.WithTimeout(ctx, signaturePatience)
	defer cancel()
	for {
		info, err := r.kubectl(wctx, "get", "configmap", "-n", "kube-public", "cluster-info", "-o", "json")
		if err == nil && bytes.Contains(info, []byte(`"jws-kubeconfig-`+id+`"`)) {
			return nil
		}
		select {
		case <-wctx.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the control plane has not signed the token after %s: is kube-controller-manager running on %s? (%w)", signaturePatience, r.master0().IP, errors.Join(err, wctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *Run) kubeadmToken(ctx context.Context) (string, error) {
	t := r.master0()
	res, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: []string{"kubeadm", "--kubeconfig", adminConf, "token", "create", "--ttl", "2h"}, TimeoutSeconds: 60}, nil)
	if err != nil {
		return "", err
	}
	if res.Code != 0 {
		return "", &CommandError{Host: t.IP.String(), Command: "kubeadm token create", Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	token := strings.TrimSpace(string(res.Stdout))
	if token == "" {
		return "", errors.New("kubeadm token create printed nothing")
	}
	return token, nil
}
