package stepstest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/etcd"
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
			return fmt.Errorf("the health check's Job did not complete in 1m0s: on %s: failed to pull image %s: no registry has it", m.node(), image)
		default:
			return nil
		}
		break
	}
	return errors.New("the health check's Job did not complete in 1m0s: no condition of type Complete")
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

// finish is what comes after the control plane: what the cluster keeps, kubelet's configuration on this host and, if the API
// lists no API server of before any more, the add-ons. If it lists one, it does nothing about them and succeeds.
func (u *upgrade) finish(ctx context.Context) error {
	upload := func(change func(s *Site)) func(s *Site, m *Machine) error {
		return func(s *Site, _ *Machine) error {
			if slices.Contains(s.kube.alarms, "NOSPACE") {
				return errNoSpace
			}
			s.kube.configs = maps.Clone(s.kube.configs)
			change(s)
			return nil
		}
	}
	if u.apply {
		err := u.patient(ctx, "upgrade: upload kubeadm-config", u.short(), upload(func(s *Site) { s.kube.configs["kubeadm-config"] = inYAML(u.cluster) }))
		if err != nil {
			return err
		}
		err = u.patient(ctx, "upgrade: upload kubelet-config", u.short(), upload(func(s *Site) {
			s.kube.configs["kubelet-config"] = u.release.kubeletDocument(documents(s.kube.configs["kubelet-config"])["KubeletConfiguration"], "")
		}))
		if err != nil {
			return err
		}
	}
	var config object
	err := u.patient(ctx, "upgrade: kubelet's configuration of before", u.short(), func(s *Site, m *Machine) error {
		config = documents(s.kube.configs["kubelet-config"])["KubeletConfiguration"]
		dir, err := u.tmp(m, "kubeadm-kubelet-config")
		return errors.Join(err, m.tree.put(dir+"/config.yaml", m.tree.text(kubeletConfig)))
	})
	if err != nil {
		return err
	}
	err = u.step("upgrade: kubelet's configuration", func(_ *Site, m *Machine) error {
		socket, _ := below(documents(m.tree.text(instanceConfig))["KubeletConfiguration"], "containerRuntimeEndpoint").(string)
		return m.tree.share(kubeletConfig, u.release.kubeletDocument(config, socket))
	})
	if err != nil || !u.addons {
		return err
	}
	return u.upgradeAddons(ctx)
}

// upgradeAddons is the phase of that name.
func (u *upgrade) upgradeAddons(ctx context.Context) error {
	if !u.master {
		return nil // it says so
	}
	for _, name := range []string{"coredns", "kube-proxy"} {
		err := u.patient(ctx, "upgrade: add-on "+name, u.short(), func(s *Site, m *Machine) error {
			if words := broken(m, "kubeadm", "addons"); words != "" {
				return errors.New(words)
			}
			own, _ := mirrored(m, "kube-apiserver")
			for _, o := range s.machines {
				if text, ok := mirrored(o, "kube-apiserver"); ok && imageOf(text) != imageOf(own) {
					return nil
				}
			}
			u.release.addon(s, name, u.version)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addons makes kube-proxy and CoreDNS of a cluster that is begun.
func (r release) addons(s *Site, cluster object) {
	version, _ := cluster["kubernetesVersion"].(string)
	if r.version == "" || version == "" {
		return
	}
	r.addon(s, "coredns", version)
	r.addon(s, "kube-proxy", version)
}

// addon makes an add-on, or gives it the image of a version.
func (r release) addon(s *Site, name, version string) {
	if name == "kube-proxy" {
		s.kube.proxyImage, s.kube.proxyRuns = imageRepository+"kube-proxy:"+version, s.kube.configs["kube-proxy"]
		watchSkew(s)
		return
	}
	image := imageRepository + "coredns/coredns:" + r.dns
	for i := range s.kube.apps {
		if a := &s.kube.apps[i]; a.Namespace == "kube-system" && a.Name == name {
			if a.image != image {
				a.image = image
				a.round++
			}
			return
		}
	}
	s.kube.apps = append(s.kube.apps, App{Namespace: "kube-system", Name: name, Kind: "Deployment", Replicas: 2, Masters: true, image: image, label: "kube-dns"})
}

// rollProxy lets kubelets start kube-proxy's pod of its DaemonSet, where it is another one, once they have the image.
func (s workloads) rollProxy() {
	if s.kube.proxyImage == "" {
		return
	}
	for _, m := range s.machines {
		if m.proxyImage != s.kube.proxyImage && s.kube.has(m.node()) && s.alive(m.node()) && obtain(m, s.kube.proxyImage) {
			m.proxyImage, m.proxyAPI = s.kube.proxyImage, m.tree.lookup("apiserver.cluster.local")
		}
	}
}

// renew makes certificates anew, as kubeadm does it in an upgrade whether they are near their end or not. Names are those of files
// in pki, or of a kubeconfig. What changes of them here is a line before the first block, which nobody reads.
func (u *upgrade) renew(m *Machine, names ...string) error {
	if !u.renews {
		return nil
	}
	var errs []error
	for _, name := range names {
		file := "/etc/kubernetes/" + name
		if !strings.HasSuffix(name, ".conf") {
			file = "/etc/kubernetes/pki/" + name + ".crt"
		}
		errs = append(errs, m.tree.put(file, "# made anew by kubeadm "+u.release.version+"\n"+m.tree.text(file)))
	}
	return errors.Join(errs...)
}

// What an upgrade asks of etcd: versions, who leads, who has caught up, and the data.

// etcdVersion is that of the etcd of a machine.
func (m *Machine) etcdVersion() string {
	version, _, _ := strings.Cut(m.version("etcd"), "-")
	if minor(version) < 0 {
		return "3.6.8" // the manifest names none
	}
	return version
}

// tooOld tells whether the etcd of a machine is of a minor that cannot run with the data of the cluster any more.
func (m *Machine) tooOld() bool { return minor(m.etcdVersion()) < m.site.kube.etcdMinor }

// raise raises the version of etcd's cluster once every voter has a newer minor.
func raise(s *Site) {
	lowest := 1 << 10
	for ip, is := range s.kube.members {
		if !is.voter {
			continue
		}
		m := s.machine(ip)
		if !s.runs(m) {
			return
		}
		lowest = min(lowest, minor(m.etcdVersion()))
	}
	s.kube.etcdMinor = max(s.kube.etcdMinor, lowest)
}

// clusterVersion is what a member says of the cluster.
func clusterVersion(s *Site) string {
	if s.kube.etcdMinor == 0 {
		return "not_decided"
	}
	return fmt.Sprintf("3.%d.0", s.kube.etcdMinor)
}

// yield gives the leadership to another member, if that of m has it.
func (s members) yield(m *Machine) error {
	voters, _, _ := voters(s.Site)
	if !s.led() || s.kube.leader != m.IP || voters == 1 {
		return nil
	}
	for _, ip := range slices.Sorted(maps.Keys(s.kube.members)) {
		if other := s.machine(ip); ip != m.IP && s.kube.members[ip].voter && steady(s.Site, other) {
			s.kube.leader = ip
			return nil
		}
	}
	return errors.New("no other member can lead")
}

// steady tells whether a member runs for long enough that it has what the others have.
func steady(s *Site, m *Machine) bool { return s.runs(m) && time.Since(m.steady) >= s.Pace.Steady }

// committed is how long the log of etcd is.
const committed = 100_000

// tell adds what a member that runs tells of itself.
func (s members) tell(o *etcd.Member, m *Machine, led bool) {
	o.Version, o.Size, o.InUse, o.Quota, o.Alarms = m.etcdVersion(), s.kube.size, s.kube.size/2, etcd.DefaultQuota, s.kube.alarms
	o.Committed, o.Applied, o.Revision = committed, committed, int64(1+len(s.kube.values))
	if !steady(s.Site, m) {
		o.Committed, o.Applied = 1, 1
	}
	if led {
		o.Leads, o.Follows = s.kube.leader == m.IP, strconv.Itoa(s.kube.members[s.kube.leader].id)
	}
}

// ownState is what a member tells when it alone is asked.
func ownState(s members, m *Machine) etcd.Cluster {
	c := s.etcdCluster()
	c.Version = ""
	for i := range c.Members {
		if o := &c.Members[i]; !o.At(m.IP) {
			*o = etcd.Member{ID: o.ID, Name: o.Name, PeerURLs: o.PeerURLs, ClientURLs: o.ClientURLs, Learner: o.Learner}
		}
	}
	return c
}

// database is a machine's member of etcd, for those who take snapshots.
type database struct{ *Machine }

var errEtcdDown = errors.New("dial tcp 127.0.0.1:2379: connect: connection refused")

// Own is what the member tells.
func (d database) Own(context.Context) (etcd.Cluster, error) {
	defer d.site.locked()()
	if d.site.kube == nil || !d.site.runs(d.Machine) {
		return etcd.Cluster{}, errEtcdDown
	}
	return ownState(members{d.site}, d.Machine), nil
}

// Snapshot sends the values that were put into etcd, and their sha256.
func (d database) Snapshot(_ context.Context, start func(bytes int64) (io.Writer, error)) error {
	data, err := d.values()
	if err != nil {
		return err
	}
	to, err := start(int64(len(data)))
	if err != nil {
		return err
	}
	_, err = to.Write(data)
	return err
}

func (d database) values() ([]byte, error) {
	defer d.site.locked()()
	if d.site.kube == nil || !d.site.runs(d.Machine) {
		return nil, errEtcdDown
	}
	data, err := json.Marshal(d.site.kube.values)
	sum := sha256.Sum256(data)
	return append(data, sum[:]...), err
}
