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

// Places that kubeadm and kubelet share with whoever administers a host.
const (
	kubePKI       = installer.KubeDir + "/pki"
	kubeManifests = installer.KubeDir + "/manifests"
	kubeletDir    = "/var/lib/kubelet"
	// kubeletCert is what kubelet.conf names, and with it kubeadm asks the cluster what this host is.
	kubeletCert = kubeletDir + "/pki/kubelet-client-current.pem"
)

// KnownKube lists what this installer, kubeadm and kubelet write below /etc/kubernetes, as [node.TidyRequest] has it.
// All else there is somebody else's.
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

// sparing lets kubeadm reset do its work without the directories that it would empty, whoever has put something there: static
// pods, certificates, and kubelet's data with the disks that the site mounts in it. [Run.tidyKubernetes] removes from them what
// is ours.
func (n *Nodes) sparing(q agent.ExecRequest) agent.ExecRequest {
	q.Argv = append(slices.Clone(q.Argv), "--cert-dir", n.Dir("none"))
	q.Hide = []string{kubeManifests, kubeletDir}
	// By these it finds the member of etcd, and the cluster that it belongs to.
	q.Show = []string{kubeManifests + "/etcd.yaml", kubeletCert}
	return q
}

// BegunWith is the mark of a host where a cluster begins. It names what was in kubelet's directory before: profiles and
// credentials that the site has put there for it.
func BegunWith(cluster string, kubelet []string) string {
	if len(kubelet) == 0 {
		return cluster
	}
	names, err := json.Marshal(kubelet)
	if err != nil {
		panic(fmt.Sprintf("steps: mark of a host: %v", err)) // strings can be encoded
	}
	return cluster + "\n" + string(names)
}

// ofTheSite is what stays in kubelet's directory.
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

// Tidy removes what kubeadm and kubelet have left of the cluster. What others have put there stays, and is told at last.
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
