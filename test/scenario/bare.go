package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// bareRatio is how much longer a whole installation may take than kubeadm's own
// commands on hosts where everything is in place.
const bareRatio = 1.5

// bareConfig is what a person would write to run kubeadm by hand here.
const bareConfig = siteConfig + `---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: ADDRESS:6443
networking: {podSubnet: 100.64.0.0/10}
`

// Bare installs three masters and two nodes, takes Kubernetes away again but
// leaves programs, services and images, and then runs the commands of kubeadm by
// hand: what the installer takes beyond that is its own doing.
func Bare(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := buildAndOpen(ctx, st, 3, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	st.heading("sealinstall: three masters and two nodes")
	start := time.Now()
	sum, _, err := site.install(ctx, st)
	if err != nil {
		return err
	}
	if err := site.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	whole := time.Since(start)
	for _, s := range sum.Steps {
		st.say("  %-22s %6.1f s", s.Step, s.Seconds)
	}
	st.heading("kubeadm reset everywhere; programs, services and images stay")
	if err := site.kubeadmReset(ctx); err != nil {
		return err
	}
	st.heading("kubeadm by hand")
	start = time.Now()
	if err := site.kubeadmByHand(ctx, st); err != nil {
		return err
	}
	if err := site.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	bare := time.Since(start)
	if err := site.showCluster(ctx, st); err != nil && !strings.Contains(err.Error(), "Clusterfile") {
		return err
	}
	ratio := whole.Seconds() / bare.Seconds()
	st.heading("sealinstall %.1f s, kubeadm by hand %.1f s: %.2f times as long (limit %.1f)", whole.Seconds(), bare.Seconds(), ratio, bareRatio)
	if ratio > bareRatio {
		return fmt.Errorf("the installation takes %.2f times as long as kubeadm's own commands", ratio)
	}
	return nil
}

func (s *Site) kubeadmReset(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, h := range append(append([]*testbed.Host{}, s.Nodes...), s.Masters...) {
		all.Go(func() error {
			_, err := h.Exec(ctx, "bash", "-c", "kubeadm reset --force --cri-socket unix:///var/run/containerd/containerd.sock && ip link delete cni0; ip link delete flannel.1; rm -rf /etc/cni/net.d/* /root/.kube; true")
			return err
		})
	}
	return all.Wait()
}

// kubeadmByHand is init, the network, and the joins, as the documentation of kubeadm has them.
func (s *Site) kubeadmByHand(ctx context.Context, st *story) error {
	config := filepath.Join(s.Dir, "bare.yml")
	m := s.master0()
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(bareConfig, "ADDRESS", m.Addr)), 0o644); err != nil {
		return err
	}
	if err := m.Copy(ctx, config, "/root/bare.yml", 0o600); err != nil {
		return err
	}
	step := func(name string, h *testbed.Host, argv ...string) (string, error) {
		start := time.Now()
		res, err := h.Exec(ctx, argv...)
		if err != nil {
			return "", fmt.Errorf("%s on %s: %w\n%s%s", name, h.Name, err, res.Stdout, res.Stderr)
		}
		st.say("  %-22s %-8s %6.1f s", name, h.Name, time.Since(start).Seconds())
		return strings.TrimSpace(res.Stdout), nil
	}
	if _, err := step("kubeadm init", m, "kubeadm", "init", "--config", "/root/bare.yml", "--upload-certs", "--skip-token-print"); err != nil {
		return err
	}
	flannel := "/var/lib/sealos/data/default/applications/*flannel*/workdir/manifests/kube-flannel.yaml"
	if _, err := step("network", m, "bash", "-c", "kubectl --kubeconfig /etc/kubernetes/admin.conf apply --server-side -f "+flannel); err != nil {
		return err
	}
	key, err := step("certificate key", m, "bash", "-c", "kubeadm init phase upload-certs --upload-certs --config /root/bare.yml | tail -n 1")
	if err != nil {
		return err
	}
	join, err := step("token", m, "kubeadm", "--kubeconfig", "/etc/kubernetes/admin.conf", "token", "create", "--print-join-command")
	if err != nil {
		return err
	}
	join += " --ignore-preflight-errors=SystemVerification,Swap,NumCPU"
	for _, h := range s.Masters[1:] {
		if _, err := step("kubeadm join", h, "bash", "-c", join+" --control-plane --certificate-key "+key); err != nil {
			return err
		}
	}
	for _, h := range s.Nodes {
		if _, err := step("kubeadm join", h, "bash", "-c", join); err != nil {
			return err
		}
	}
	return nil
}
