package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// bareRuns names the environment variable that says how often both ways are
// taken, each time on new hosts: one run says little about a figure.
const bareRuns = "BARE_RUNS"

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
// hand. What is proved is that both make a whole cluster; how long each takes is
// told, and judged by nobody: it is the machine's doing as much as ours.
func Bare(ctx context.Context, out io.Writer) (err error) {
	runs := 1
	if asked := os.Getenv(bareRuns); asked != "" {
		if runs, err = strconv.Atoi(asked); err != nil || runs < 1 {
			return fmt.Errorf("%s=%s is no number of runs", bareRuns, asked)
		}
	}
	st := newStory(out)
	b, stop, err := Build(ctx, st)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.work.remove()) }()
	if err := stop(); err != nil {
		return err
	}
	whole, bare, ratio := spread{name: "bare/sealinstall", unit: "s"}, spread{name: "bare/by-hand", unit: "s"}, spread{name: "bare/sealinstall-to-by-hand", unit: "ratio"}
	for range runs {
		ours, theirs, err := bothWays(ctx, st, b)
		if err != nil {
			return err
		}
		whole.add(ours.Seconds())
		bare.add(theirs.Seconds())
		ratio.add(ours.Seconds() / theirs.Seconds())
	}
	st.heading("figures of %d runs on this machine", runs)
	st.say("| measurement | median | min | max | unit |\n|---|---|---|---|---|\n%s\n%s\n%s", whole, bare, ratio)
	return nil
}

// bothWays makes one cluster twice on the same hosts, and tells how long each way took.
func bothWays(ctx context.Context, st *story, b Built) (ours, theirs time.Duration, err error) {
	site, err := openSite(ctx, st, b, 3, 2)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, site.Bed.Close()) }() // the bundle serves the next run too
	st.heading("sealinstall: three masters and two nodes")
	start := time.Now()
	sum, _, err := site.install(ctx, st)
	if err != nil {
		return 0, 0, err
	}
	if err := site.waitPods(ctx, barePatience); err != nil {
		return 0, 0, err
	}
	ours = time.Since(start)
	for _, s := range sum.Steps {
		st.say("  %-22s %6.1f s", s.Step, s.Seconds)
	}
	st.heading("kubeadm reset everywhere; programs, services and images stay")
	if err := site.kubeadmReset(ctx); err != nil {
		return 0, 0, err
	}
	st.heading("kubeadm by hand")
	start = time.Now()
	if err := site.kubeadmByHand(ctx, st); err != nil {
		return 0, 0, err
	}
	// Nobody has waited for these nodes: kubeadm is done before they are Ready.
	if err := site.waitNodes(ctx, barePatience); err != nil {
		return 0, 0, err
	}
	if err := site.waitPods(ctx, barePatience); err != nil {
		return 0, 0, err
	}
	theirs = time.Since(start)
	st.heading("sealinstall %.1f s, kubeadm by hand %.1f s: %.2f times as long", ours.Seconds(), theirs.Seconds(), ours.Seconds()/theirs.Seconds())
	return ours, theirs, site.show(ctx, st, "get", "nodes", "-o", "wide")
}

// barePatience is after what time something is broken, however busy the machine is.
const barePatience = 5 * time.Minute

// waitNodes waits until every host is a node that is Ready.
func (s *Site) waitNodes(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		nodes, err := s.kubectl(ctx, "get", "nodes", "--no-headers")
		if n := strings.Count(nodes, " Ready "); err == nil && n == len(s.Masters)+len(s.Nodes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s not every node is Ready (%v):\n%s", patience, err, nodes)
		case <-time.After(500 * time.Millisecond):
		}
	}
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
