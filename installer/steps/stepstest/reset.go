package stepstest

import (
	"context"
	"errors"
	"slices"
)

// kubeadmReset does what the real one does, in its order. It takes the member out of etcd only if it finds the cluster's
// configuration, for which it needs an administrator's kubeconfig or kubelet's, an API that answers and the machine's Node;
// otherwise, or if etcd refuses, it warns. In any case it empties etcd's data directory, on every machine, even if the files
// are not the cluster's, unless it is told to skip that phase. It stops kubelet, unmounts what is mounted in kubelet's
// directory, removes containers if the runtime answers, and empties directories with all that others have put there. What is
// hidden from it stays.
func (c *call) kubeadmReset(ctx context.Context, args []string) error {
	if !slices.Contains(args, "--force") && !slices.Contains(args, "-f") {
		return errors.New("aborted reset operation: it asks, and nobody answers")
	}
	certs := "/etc/kubernetes/pki"
	if i := slices.Index(args, "--cert-dir"); i >= 0 {
		certs = args[i+1]
	}
	var steps []any
	if !slices.Contains(args, "--skip-phases=remove-etcd-member") {
		steps = []any{
			"reset: etcd member", func(s *Site, m *Machine) error {
				if s.kube == nil || !s.reaches(m) || !m.tree.has(adminConf) && !m.tree.has(kubeletConf) {
					return nil // warns, and goes on
				}
				if _, ok := s.kube.nodes[m.node()]; !ok || len(s.kube.members) == 1 {
					return nil
				}
				_ = members{s}.removeMember(m.IP) // warns, and goes on
				return nil
			},
			"reset: etcd data", func(_ *Site, m *Machine) error { return errors.Join(m.tree.wipe(m.dataDir()), m.tree.wipe(etcdDir)) },
		}
	}
	return c.steps(ctx, slices.Concat(steps, []any{
		"reset: kubelet", func(_ *Site, m *Machine) error {
			if m.done["kubeadm init"]+m.done["kubeadm join"] > m.done["kubeadm reset"] {
				m.done["kubeadm reset"]++
			}
			m.before()
			m.stopped = true
			return nil
		},
		"reset: mounts and containers", func(_ *Site, m *Machine) error {
			if m.containerd() {
				clear(m.running)
				clear(m.containers)
			}
			if slices.Contains(c.hide, kubeletDir) {
				return nil
			}
			return m.unmount(kubeletDir)
		},
		"reset: files", func(_ *Site, m *Machine) error {
			for _, dir := range []string{manifests, kubeletDir, certs} {
				if slices.Contains(c.hide, dir) {
					continue
				}
				if err := m.tree.wipe(dir); err != nil {
					return err
				}
			}
			if slices.Contains(args, "--cleanup-tmp-dir") {
				if err := m.tree.wipe("/etc/kubernetes/tmp"); err != nil {
					return err
				}
			}
			return m.tree.remove(kubeletConf, bootstrapConf, adminConf, "/etc/kubernetes/super-admin.conf", "/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/scheduler.conf")
		},
	})...)
}
