package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/secrets"
)

// Directories of kubeadm and kubelet in which those who administer a host put files, too.
const (
	kubeManifests = installer.KubeDir + "/manifests"
	kubeletDir    = "/var/lib/kubelet"
	// kubeletCert is the certificate that kubelet.conf names. With it kubeadm asks the cluster what this host is.
	kubeletCert = kubeletDir + "/pki/kubelet-client-current.pem"
)

// KnownKube lists the files that this installer, kubeadm and kubelet write below /etc/kubernetes, as [agent.TidyRequest]
// takes them. All other files there are not the cluster's.
func KnownKube() []string {
	known := certs.MasterInput{SuperAdmin: true, WithSuperAdmin: true}.Paths()
	for _, name := range secrets.AdoptedFiles() {
		known = append(known, "pki/"+name)
	}
	for _, pod := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", care.PodName} {
		known = append(known, "manifests/"+pod+".yaml")
	}
	return append(known, "kubelet.conf", "bootstrap-kubelet.conf", path.Base(kubeadm.AuditPolicyPath), "tmp/kubeadm-*")
}

// sparing hides from kubeadm reset the directories that it would empty, even of files that are not the cluster's: static
// pods, certificates, and kubelet's data with the disks that the site mounts there. [Nodes.Tidy] removes what is the
// cluster's.
func (n *Nodes) sparing(q agent.ExecRequest) agent.ExecRequest {
	q.Argv = append(slices.Clone(q.Argv), "--cert-dir", n.Dir("none"))
	q.Hide = []string{kubeManifests, kubeletDir}
	// By these kubeadm finds the member of etcd, and the cluster that it belongs to.
	q.Show = []string{kubeManifests + "/etcd.yaml", kubeletCert}
	return q
}

// BegunWith is what the mark journal.Begun says: the name of the cluster and, in a second line as JSON, what was in
// kubelet's directory before: profiles and credentials that the site has put there for kubelet.
func BegunWith(cluster string, kubelet []string) string {
	if len(kubelet) == 0 {
		return cluster
	}
	names, err := json.Marshal(kubelet)
	if err != nil {
		panic(fmt.Sprintf("nodes: mark of a host: %v", err)) // strings can be encoded
	}
	return cluster + "\n" + string(names)
}

// ofTheSite are the entries of kubelet's directory that were there before the cluster, and stay.
func ofTheSite(t *fleet.Target) ([]string, error) {
	_, names, ok := strings.Cut(t.Journal.Of(journal.Begun), "\n")
	if !ok {
		return nil, nil
	}
	var kept []string
	if err := json.Unmarshal([]byte(names), &kept); err != nil {
		return nil, fmt.Errorf("read what was in %s before: %w", kubeletDir, err)
	}
	return kept, nil
}

// Tidy removes what kubeadm and kubelet have left of the cluster. What others have put there stays; if last is set, a
// warning says so.
func (n *Nodes) Tidy(ctx context.Context, t *fleet.Target, last bool) error {
	keep, err := ofTheSite(t)
	if err != nil {
		return err
	}
	mounted, err := t.Agent.Clear(ctx, agent.ClearRequest{Paths: []string{kubeletDir}, Keep: keep, Volumes: true})
	if err != nil {
		return fmt.Errorf("empty %s: %w", kubeletDir, err)
	}
	left, err := t.Agent.Tidy(ctx, agent.TidyRequest{Dir: installer.KubeDir, Known: KnownKube()})
	if err != nil {
		return fmt.Errorf("take the cluster's files out of %s: %w", installer.KubeDir, err)
	}
	if last && len(mounted) > 0 {
		n.Report.Warnf("%s: file systems of the site are mounted in %s; they stay as they are: %s", t.IP, kubeletDir, installer.NameSome(mounted))
	}
	if last && len(left) > 0 {
		n.Report.Warnf("%s: these are not the cluster's and stay: %s", t.IP, strings.Join(left, ", "))
	}
	return nil
}
