package stepstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// preflight is what kubeadm looks at before it changes anything: much for `upgrade apply`, and for `upgrade node` whether the
// images are there.
func (u *upgrade) preflight(ctx context.Context) error {
	err := u.step("upgrade: preflight", func(_ *Site, m *Machine) error {
		if !m.containerd() {
			return errors.New("[ERROR ContainerRuntimeVersion]: could not connect to the container runtime")
		}
		return nil
	})
	if err != nil || !u.apply && !u.master {
		return err
	}
	if u.apply {
		if err := u.health(ctx); err != nil {
			return err
		}
		err := u.patient(ctx, "upgrade: versions", u.short(), func(s *Site, m *Machine) error { return u.policy(s, m) })
		if err != nil {
			return err
		}
	}
	return u.step("upgrade: images", func(_ *Site, m *Machine) error {
		var errs []error
		for _, image := range u.release.images(u.version, false) {
			if !obtain(m, image) {
				errs = append(errs, fmt.Errorf("[ERROR ImagePull]: failed to pull image %s: no registry has it", image))
			}
		}
		return errors.Join(errs...)
	})
}

// health is the check of the whole cluster. All that it finds is told at once.
func (u *upgrade) health(ctx context.Context) error {
	job := u.patient(ctx, "upgrade: job", u.short(), func(s *Site, _ *Machine) error { return u.job(s) })
	if u.fate() != nil || errors.Is(job, errKilled) || errors.Is(job, errStopped) {
		return job
	}
	if job != nil {
		job = fmt.Errorf("[ERROR CreateJob]: %w", job)
	}
	return errors.Join(job, u.quietly(func(s *Site, m *Machine) error {
		var silent, missing []string
		for _, o := range s.machines {
			if s.kube.nodes[o.node()].master && !s.nodeReady(o.node()) {
				silent = append(silent, o.node())
			}
		}
		for _, pod := range staticPods()[:3] { // etcd's is not looked for
			if !m.tree.has(manifest(pod)) {
				missing = append(missing, manifest(pod))
			}
		}
		var errs []error
		if len(silent) > 0 {
			errs = append(errs, fmt.Errorf("[ERROR ControlPlaneNodesReady]: there are NotReady control-planes in the cluster: %v", silent))
		}
		if len(missing) > 0 {
			errs = append(errs, fmt.Errorf("[ERROR StaticPodManifest]: manifest files not found: %v", missing))
		}
		return errors.Join(errs...)
	}))
}

// job is the pod that kubeadm wants to see end somewhere: with the pause image of the new version, on a node that the scheduler
// finds for it, also on a master. Where every node is cordoned it does without.
func (u *upgrade) job(s *Site) error {
	runs := func(pod string) bool {
		return slices.ContainsFunc(s.machines, func(m *Machine) bool { return m.runsPod(pod) })
	}
	if slices.Contains(s.kube.alarms, "NOSPACE") {
		return errNoSpace
	}
	if !slices.ContainsFunc(s.machines, func(m *Machine) bool { return s.kube.has(m.node()) && !s.kube.nodes[m.node()].unschedulable }) {
		return nil
	}
	for _, m := range s.machines {
		n, ok := s.kube.nodes[m.node()]
		drives := slices.ContainsFunc(n.taints, func(t taint) bool { return t.effect == "NoSchedule" || t.effect == "NoExecute" })
		if !ok || n.unschedulable || drives || !s.nodeReady(m.node()) {
			continue
		}
		image := imageRepository + "pause:" + u.release.pause
		switch {
		case !runs("kube-controller-manager") || !runs("kube-scheduler") || !m.kubelet():
		case !obtain(m, image):
			return fmt.Errorf("Job did not complete in 1m0s: on %s: failed to pull image %s: no registry has it", m.node(), image)
		default:
			return nil
		}
		break
	}
	return errors.New("Job did not complete in 1m0s: no condition of type Complete")
}

var errNoSpace = errors.New("etcdserver: mvcc: database space exceeded")

// policy refuses versions. The version that the cluster has is that of the API server that answers.
func (u *upgrade) policy(s *Site, m *Machine) error {
	has := s.machine(m.tree.lookup("apiserver.cluster.local")).version("kube-apiserver")
	kubeadm, to := u.release.version, u.version
	var fatal, forced []string
	switch {
	case minor(to) < minor(kubeadm)-1:
		fatal = append(fatal, fmt.Sprintf("Specified version to upgrade to %q is equal to or lower than the minimum supported version", to))
	case minor(to) > minor(has)+1:
		fatal = append(fatal, fmt.Sprintf("Specified version to upgrade to %q is too high; kubeadm can upgrade only 1 minor version at a time", to))
	case minor(to) < minor(has)-1:
		fatal = append(fatal, fmt.Sprintf("Specified version to downgrade to %q is too low; kubeadm can downgrade only 1 minor version at a time", to))
	}
	switch {
	case minor(to) > minor(kubeadm):
		fatal = append(fatal, fmt.Sprintf("Specified version to upgrade to %q is at least one minor release higher than the kubeadm minor release", to))
	case older(kubeadm, to):
		forced = append(forced, fmt.Sprintf("Specified version to upgrade to %q is higher than the kubeadm version %q", to, kubeadm))
	case minor(kubeadm) > minor(to):
		forced = append(forced, fmt.Sprintf("Kubeadm version %s can only be used to upgrade to Kubernetes version 1.%d", kubeadm, minor(kubeadm)))
	}
	for _, n := range s.kube.nodes {
		if n.kubelet != "" && minor(to) > minor(n.kubelet)+3 {
			forced = append(forced, fmt.Sprintf("There are kubelets in this cluster that are too old that have these versions [%s]", n.kubelet))
		}
	}
	switch {
	case len(fatal) > 0:
		return fmt.Errorf("the version argument is invalid due to these fatal errors: %s", strings.Join(fatal, "; "))
	case len(forced) > 0 && !u.force:
		return fmt.Errorf("the version argument is invalid due to these errors: %s. Can be bypassed if you pass the --force flag", strings.Join(forced, "; "))
	}
	return nil
}
