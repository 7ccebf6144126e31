package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// siteMade is what an administrator has made of a host before a cluster comes to it: data directories that are disks and links,
// files below /etc/kubernetes and for kubelet, and the kubeconfig of another cluster that has kubeadm's names.
const siteMade = `set -e
mkdir -p /var/lib/disks/cri /var/lib/disks/kubelet /var/lib/disks/registry /var/lib/containerd /var/lib/kubelet /etc/kubernetes/policies /root/.kube
mount --bind /var/lib/disks/cri /var/lib/containerd
mount --bind /var/lib/disks/kubelet /var/lib/kubelet
ln -s disks/registry /var/lib/registry
mkdir -p /var/lib/kubelet/seccomp /var/lib/containerd/lost+found
echo '{"defaultAction": "SCMP_ACT_LOG"}' >/var/lib/kubelet/seccomp/audit.json
echo 'kind: EncryptionConfiguration' >/etc/kubernetes/encryption.yaml
cat >/root/.kube/config <<'X'
# the old cluster, until spring
apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster: {server: "https://10.9.9.9:6443"}
contexts:
- name: kubernetes-admin@kubernetes
  context: {cluster: kubernetes, user: kubernetes-admin, namespace: shop}
current-context: kubernetes-admin@kubernetes
users:
- name: kubernetes-admin
  user: {token: of-the-old-cluster}
X
`

// ownPod is a static pod that is no part of the cluster.
const ownPod = `apiVersion: v1
kind: Pod
metadata: {name: own, namespace: default}
spec:
  containers: [{name: own, image: "registry.k8s.io/pause:3.10.2"}]
`

// siteAdds is what the administrator does while the cluster is there, and what a run that was killed leaves.
const siteAdds = `set -e
echo webhook >/etc/kubernetes/pki/webhook.crt
printf '%s' "$0" >/etc/kubernetes/manifests/own.yaml
echo x >/etc/.sealinstall-hosts.17
echo x >/etc/kubernetes/.sealinstall-admin.conf.17
`

// resetConditions proves on hosts that are not as a fresh system leaves them that the cluster destroys nothing of the site's, and
// that after a reset nothing of the cluster's is there and everything of the site's.
func resetConditions(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := buildAndOpen(ctx, st, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	for _, h := range site.Hosts {
		if _, err := h.Exec(ctx, "sh", "-c", siteMade); err != nil {
			return err
		}
	}
	if err := site.foreignKeysAreRefused(ctx, st); err != nil {
		return err
	}
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	if _, _, err := site.install(ctx, st); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := site.waitPods(ctx, 5*time.Minute); err != nil {
		return err
	}
	if err := site.bothClustersInTheKubeconfig(ctx, st); err != nil {
		return err
	}
	for _, h := range site.Hosts {
		if _, err := h.Exec(ctx, "sh", "-c", "mkdir -p /etc/kubernetes/pki; "+siteAdds, ownPod); err != nil {
			return err
		}
	}
	st.heading("reset")
	res, err := site.master0().Run(ctx, testbed.Command{Argv: []string{"/root/sealinstall", "reset", "--yes"}, Dir: "/root"})
	told := res.Stdout + res.Stderr
	st.say("%s", strings.TrimSpace(told))
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	for _, name := range []string{"/etc/kubernetes/encryption.yaml", "/etc/kubernetes/pki/webhook.crt", "/etc/kubernetes/manifests/own.yaml"} {
		if !strings.Contains(told, name) {
			err = errors.Join(err, fmt.Errorf("nobody was told that %s stays", name))
		}
	}
	return errors.Join(err, site.hostsAreTheSites(ctx, st, before))
}

// foreignKeysAreRefused installs where somebody's authority lies: a problem, and nothing is changed.
func (s *Site) foreignKeysAreRefused(ctx context.Context, st *story) error {
	st.heading("authorities of somebody else on two hosts")
	const files = "mkdir -p /etc/kubernetes/pki/etcd; echo theirs >/etc/kubernetes/pki/ca.key; echo theirs >/etc/kubernetes/pki/etcd/ca.key"
	for _, h := range s.Hosts {
		if _, err := h.Exec(ctx, "sh", "-c", files); err != nil {
			return err
		}
	}
	before, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"/root/sealinstall", "--masters", addresses(s.Masters), "--nodes", addresses(s.Nodes)}, siteFlags()...)
	res, _ := s.master0().Run(ctx, testbed.Command{Argv: args, Dir: "/root"})
	st.say("%s", strings.TrimSpace(res.Stderr))
	e := expectation{3, []string{"/etc/kubernetes/pki/ca.key, /etc/kubernetes/pki/etcd/ca.key", "--ca-dir", s.Nodes[0].Addr}}
	if err := e.check("an installation over somebody's keys", res.Code, res.Stdout+res.Stderr); err != nil {
		return err
	}
	after, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	var changed []string
	for i, h := range s.Hosts {
		for _, d := range diff(before[i], after[i]) {
			if !expectedAfterReset(d) {
				changed = append(changed, h.Name+": "+d)
			}
		}
		if _, err := h.Exec(ctx, "rm", "-r", "/etc/kubernetes/pki"); err != nil {
			return err
		}
	}
	if len(changed) > 0 {
		return fmt.Errorf("the refused run changed:\n%s", strings.Join(changed, "\n"))
	}
	return nil
}

// bothClustersInTheKubeconfig asks the new cluster by its name, and changes the old one's entry.
func (s *Site) bothClustersInTheKubeconfig(ctx context.Context, st *story) error {
	kubectl := func(args ...string) (string, error) {
		res, err := s.master0().Exec(ctx, append([]string{"kubectl", "--cache-dir", "/root/.sealos/kubectl-of-test"}, args...)...)
		return res.Stdout, err
	}
	names, err := kubectl("config", "get-contexts", "-o", "name")
	if err != nil {
		return err
	}
	st.say("%s# kubectl config get-contexts -o name\n%s", s.master0().Name, names)
	if got := strings.Join(strings.Fields(names), " "); got != "kubernetes-admin@default kubernetes-admin@kubernetes" {
		return fmt.Errorf("the contexts in root's kubeconfig are %s", got)
	}
	nodes, err := kubectl("get", "nodes", "-o", "name")
	if err != nil || len(strings.Fields(nodes)) != len(s.Hosts) {
		return fmt.Errorf("the current context shows %q: %w", nodes, err)
	}
	_, err = kubectl("config", "set-context", "kubernetes-admin@kubernetes", "--namespace", "till")
	return err
}

// siteKeeps tells of what the administrator has done since the snapshot.
func siteKeeps(line string) bool {
	for _, name := range []string{
		"/etc/kubernetes/pki", "/etc/kubernetes/pki/webhook.crt", "/etc/kubernetes/manifests", "/etc/kubernetes/manifests/own.yaml", "/root/.kube/config",
	} {
		if strings.HasSuffix(line, " "+name) {
			return true
		}
	}
	return expectedAfterReset(line)
}

// hostsAreTheSites compares what is on the hosts with what was there, and looks at what a snapshot leaves out.
func (s *Site) hostsAreTheSites(ctx context.Context, st *story, before [][]string) error {
	after, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for i, h := range s.Hosts {
		for _, d := range diff(before[i], after[i]) {
			if !siteKeeps(d) {
				errs = append(errs, fmt.Errorf("%s: %s", h.Name, d))
			}
		}
		// Each says what is wrong.
		const look = `for name in /var/log/kubernetes /var/log/pods /var/log/containers /sys/fs/cgroup/kubepods* /sys/fs/cgroup/*/kubepods*; do
	[ ! -e "$name" ] || echo "left: $name"
done
[ "$(cat /etc/kubernetes/pki/webhook.crt)" = webhook ] || echo "gone: the certificate of the webhook"
[ "$(cat /etc/kubernetes/manifests/own.yaml)" = "$0" ] || echo "gone: the static pod"
find /var/lib/disks/cri /var/lib/disks/registry -mindepth 1 ! -name lost+found
find /var/lib/disks/kubelet -mindepth 1 ! -path '*/seccomp*'
mountpoint -q /var/lib/containerd || echo "unmounted: /var/lib/containerd"
mountpoint -q /var/lib/kubelet || echo "unmounted: /var/lib/kubelet"
[ "$(readlink /var/lib/registry)" = disks/registry ] || echo "no link any more: /var/lib/registry"
grep -q "namespace: till" /root/.kube/config || [ "$1" = node ] || echo "the change of the kubeconfig is lost"
grep -q of-the-old-cluster /root/.kube/config || echo "the old cluster is gone from the kubeconfig"
! grep -q apiserver.cluster.local /root/.kube/config || echo "the cluster is still in the kubeconfig"
`
		role := "node"
		if i < len(s.Masters) {
			role = "master"
		}
		res, err := h.Exec(ctx, "sh", "-c", look, strings.TrimSpace(ownPod), role)
		if err != nil {
			return err
		}
		for line := range strings.Lines(res.Stdout) {
			errs = append(errs, fmt.Errorf("%s: %s", h.Name, strings.TrimSpace(line)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	st.say("every host is as the site has made it: disks, links, keys, static pods, kubeconfig")
	return nil
}
