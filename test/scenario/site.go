package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// siteConfig is what the test hosts need beyond the defaults: they are
// containers on a kernel with cgroup v1, and may neither lower OOM scores nor
// set conntrack limits. It goes through the product's own --config-file.
const siteConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  ignorePreflightErrors: [SystemVerification, Swap, NumCPU]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  ignorePreflightErrors: [SystemVerification, Swap, NumCPU]
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
`

// siteFlags are the flags of every run on the test hosts.
func siteFlags() []string {
	return []string{
		"--config-file", "/root/site.yml",
		"-e", "cgroupDriver=cgroupfs", "-e", "disableApparmor=true", "-e", "restrictOOMScoreAdj=true",
		"-e", "flannelBackend=host-gw", "-e", "swapMode=keep",
	}
}

// Where the operator has the files that were carried in: the one of a site, or what it is installed from and what upgrades it.
const (
	onSite    = "/root/sealinstall"
	oldOnSite = "/root/old.run"
	newOnSite = "/root/new.run"
)

// Site is a closed network of hosts with the one file carried in.
type Site struct {
	*testbed.Bed
	Masters, Nodes []*testbed.Host

	built Built    // where the bundle came from
	file  string   // the bundle on the first master that the operator runs
	extra []string // flags of every run beside siteFlags
}

// master0 is where the operator sits.
func (s *Site) master0() *testbed.Host { return s.Masters[0] }

// buildAndOpen builds the bundle and opens a site with it. The upstream ends
// before the site begins: nothing there can lean on it.
func buildAndOpen(ctx context.Context, st *story, masters, nodes int) (*Site, error) {
	return makeAndOpen(ctx, st, recipe{images: (*Built).images}, masters, nodes)
}

// makeAndOpen is buildAndOpen by another recipe.
func makeAndOpen(ctx context.Context, st *story, r recipe, masters, nodes int) (*Site, error) {
	b, stop, err := build(ctx, st, r)
	if err != nil {
		return nil, err
	}
	if err := stop(); err != nil {
		return nil, errors.Join(err, b.work.remove())
	}
	return openSite(ctx, st, b, masters, nodes)
}

// Close takes the hosts down and removes the bundle.
func (s *Site) Close() error { return errors.Join(s.Bed.Close(), s.built.work.remove()) }

// openSite boots hosts, and carries bundle, key and configuration onto the first. The bundle is the site's from then on.
func openSite(ctx context.Context, st *story, b Built, masters, nodes int) (*Site, error) {
	st.heading("booting %d hosts in a network that reaches nothing outside", masters+nodes)
	cfg := testbed.Config{Log: io.Discard}
	// Sites have no DNS at all, or one that never answers. Both must do.
	resolvers := []testbed.Resolver{testbed.SilentDNS, testbed.NoDNS}
	for i := range masters + nodes {
		name := fmt.Sprintf("master%d", i+1)
		if i >= masters {
			name = fmt.Sprintf("node%d", i-masters+1)
		}
		cfg.Hosts = append(cfg.Hosts, testbed.HostConfig{Name: name, Resolver: resolvers[i%2]})
	}
	bed, err := testbed.Start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot the hosts: %w", err), b.work.remove())
	}
	site := &Site{Bed: bed, Masters: slices.Clone(bed.Hosts[:masters]), Nodes: slices.Clone(bed.Hosts[masters:]), built: b, file: onSite}
	if b.OldBundle != "" {
		site.file = oldOnSite
	}
	if err := site.carryIn(ctx, st, b); err != nil {
		return nil, errors.Join(err, site.Close())
	}
	return site, nil
}

func (s *Site) carryIn(ctx context.Context, st *story, b Built) error {
	config := filepath.Join(s.Dir, "site.yml")
	if err := os.WriteFile(config, []byte(siteConfig), 0o644); err != nil {
		return err
	}
	type carried struct {
		src, dst string
		mode     os.FileMode
	}
	files := []carried{{s.KeyFile, "/root/.ssh/id_ed25519", 0o600}, {config, "/root/site.yml", 0o644}}
	if b.OldBundle != "" {
		files = append(files, carried{b.OldBundle, oldOnSite, 0o755}, carried{b.Bundle, newOnSite, 0o755})
	} else {
		files = append(files, carried{b.Bundle, onSite, 0o755})
	}
	for _, f := range files {
		info, err := os.Stat(f.src)
		if err != nil {
			return err
		}
		st.say("carrying %s (%d kB) onto %s", f.dst, (info.Size()+999)/1000, s.master0().Name)
		if err := s.master0().Copy(ctx, f.src, f.dst, f.mode); err != nil {
			return fmt.Errorf("copy %s onto %s: %w", f.dst, s.master0().Name, err)
		}
	}
	return nil
}

func addresses(hosts []*testbed.Host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Addr)
	}
	return strings.Join(out, ",")
}

// Summary is what `sealinstall -o json` prints.
type Summary struct {
	Seconds float64 `json:"seconds"`
	Changes int     `json:"changes"`
	Steps   []struct {
		Step    string  `json:"step"`
		Seconds float64 `json:"seconds"`
		Changes int     `json:"changes"`
	} `json:"steps"`
}

// sealinstall runs the file on the first master as an operator would.
func (s *Site) sealinstall(ctx context.Context, st *story, args ...string) (Summary, testbed.Result, error) {
	st.say("%s# ./%s %s", s.master0().Name, filepath.Base(s.file), strings.Join(args, " "))
	res, err := s.master0().Run(ctx, testbed.Command{
		Argv: append([]string{s.file}, append(args, "-o", "json")...), Dir: "/root", Stderr: st.out,
	})
	if err != nil {
		return Summary{}, res, err
	}
	var sum Summary
	if err := json.Unmarshal([]byte(res.Stdout), &sum); err != nil {
		return sum, res, fmt.Errorf("read the summary of sealinstall: %w: %q", err, res.Stdout)
	}
	return sum, res, nil
}

func (s *Site) install(ctx context.Context, st *story, extra ...string) (Summary, testbed.Result, error) {
	args := []string{"--masters", addresses(s.Masters)}
	if len(s.Nodes) > 0 {
		args = append(args, "--nodes", addresses(s.Nodes))
	}
	return s.sealinstall(ctx, st, slices.Concat(args, siteFlags(), s.extra, extra)...)
}

// kubectl runs kubectl on the first master.
func (s *Site) kubectl(ctx context.Context, args ...string) (string, error) {
	// The cache of this test's own kubectl would look like something that reset left.
	res, err := s.master0().Exec(ctx, append([]string{"kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--cache-dir", "/root/.sealos/kubectl-of-test"}, args...)...)
	return res.Stdout, err
}

// show runs kubectl and prints what it says.
func (s *Site) show(ctx context.Context, st *story, args ...string) error {
	st.say("%s# kubectl %s", s.master0().Name, strings.Join(args, " "))
	out, err := s.kubectl(ctx, args...)
	fmt.Fprint(st.out, out)
	return err
}

// waitPods waits until every pod of the cluster is ready.
func (s *Site) waitPods(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		out, err := s.kubectl(ctx, "get", "pods", "-A", "--no-headers", "-o",
			`custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,PHASE:.status.phase`)
		var waiting []string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[1] != "True" && f[2] != "Succeeded" {
				waiting = append(waiting, strings.TrimSpace(line))
			}
		}
		if err == nil && len(waiting) == 0 && out != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s these pods are not ready (%v):\n%s", patience, err, strings.Join(waiting, "\n"))
		case <-time.After(500 * time.Millisecond):
		}
	}
}
