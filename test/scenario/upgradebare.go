package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// upgradeRatio is how many times as long as the commands by hand an upgrade may take.
const upgradeRatio = 1.5

// UpgradeBare upgrades one site with the file, and a second one that is made in the same way with the commands of kubeadm and
// kubectl as their documentation has them, and compares how long each takes.
func UpgradeBare(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	b, stop, err := build(ctx, st, recipe{images: (*Built).bothVersions, before: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.work.remove()) }()
	images, err := b.archiveImages(ctx, st)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	ours, err := timed(ctx, st, b, func(u *upgradeSite) error { return u.upgraded(ctx) })
	if err != nil {
		return fmt.Errorf("the upgrade with the file: %w", err)
	}
	theirs, err := timed(ctx, st, b, func(u *upgradeSite) error { return u.byHand(ctx, images) })
	if err != nil {
		return fmt.Errorf("the upgrade by hand: %w", err)
	}
	ratio := ours.Seconds() / theirs.Seconds()
	st.heading("new.run upgrade %.1f s, kubeadm by hand %.1f s: %.2f times as long", ours.Seconds(), theirs.Seconds(), ratio)
	if ratio > upgradeRatio {
		return fmt.Errorf("the upgrade takes %.2f times as long as by hand, more than %.1f", ratio, upgradeRatio)
	}
	return nil
}

// timed makes a site with the old version and the load, and tells how long its upgrade takes until every pod is ready.
func timed(ctx context.Context, st *story, b Built, upgrade func(*upgradeSite) error) (took time.Duration, err error) {
	u, err := openUpgrade(ctx, st, b, 2)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(u.end(ctx), err, u.Bed.Close()) }() // the bundles serve the next site, too
	if err := u.begin(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := upgrade(u); err != nil {
		return 0, err
	}
	if err := u.waitPods(ctx, barePatience); err != nil {
		return 0, err
	}
	took = time.Since(start)
	return took, u.runsNew(ctx)
}

// archiveImages writes the images of the new version as archives that containerd imports: what somebody who works by hand would
// carry in.
func (b *Built) archiveImages(ctx context.Context, st *story) (archives []string, err error) {
	st.heading("archives of the new images, for who works by hand")
	list, err := os.ReadFile(filepath.Join(b.dir("kubernetes"), "images/shim/DefaultImageList"))
	if err != nil {
		return nil, err
	}
	for _, image := range append(strings.Fields(string(list)), "ghcr.io/sealbuild/hello:"+newApplication) {
		archive := b.work.path(strings.NewReplacer("/", "_", ":", "_").Replace(image) + ".tar")
		if err := command(ctx, st.out, b.Root, nil, "skopeo", "--insecure-policy", "copy", "--quiet",
			"oci:"+filepath.Join(b.Upstream, "images")+":"+image, "docker-archive:"+archive+":"+image); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// byHand is https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/ for this site, with all that is done
// without waiting done at once.
func (u *upgradeSite) byHand(ctx context.Context, images []string) error {
	u.st.heading("kubeadm by hand")
	u.load.enter(false, "by hand") // who works by hand loses requests; it is told, and judged by nobody
	var all errgroup.Group
	for _, h := range u.all() {
		all.Go(func() error { return u.stageByHand(ctx, h, images) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for i, h := range u.all() {
		upgrade := []string{"node"}
		if i == 0 {
			upgrade = []string{"apply", newKubernetes, "--yes"}
		}
		if err := u.oneByHand(ctx, h, upgrade); err != nil {
			return err
		}
	}
	_, err := u.step(ctx, u.master0(), "application", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "set", "image", "--namespace", "load",
		"deployment/asked", "asked=ghcr.io/sealbuild/hello:"+newApplication)
	return err
}

// byHandDir is where a host has what was carried onto it.
const byHandDir = "/root/new/"

// stageByHand brings programs and images onto a host.
func (u *upgradeSite) stageByHand(ctx context.Context, h *testbed.Host, images []string) error {
	start := time.Now()
	programs, err := filepath.Glob(filepath.Join(u.built.Upstream, "[bc][ir]*", "*")) // bin and cri
	if err != nil {
		return err
	}
	for _, file := range programs {
		if err := h.Copy(ctx, file, byHandDir+filepath.Base(file), 0o755); err != nil {
			return err
		}
	}
	for _, file := range images {
		archive := byHandDir + "image.tar"
		if err := h.Copy(ctx, file, archive, 0o644); err != nil {
			return err
		}
		if _, err := h.Exec(ctx, "ctr", "--namespace", "k8s.io", "images", "import", archive); err != nil {
			return err
		}
	}
	u.st.say("  %-22s %-8s %6.1f s", "programs and images", h.Name, time.Since(start).Seconds())
	return nil
}

// oneByHand upgrades one host.
func (u *upgradeSite) oneByHand(ctx context.Context, h *testbed.Host, upgrade []string) error {
	kubectl := []string{"kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"}
	operator := u.master0()
	put := func(names ...string) []string {
		script := "set -e; cd " + byHandDir
		for _, n := range names {
			script += fmt.Sprintf("; cp %[1]s /usr/bin/.%[1]s.new; mv /usr/bin/.%[1]s.new /usr/bin/%[1]s", n)
		}
		return []string{"bash", "-c", script}
	}
	kubeadm := slices.Concat([]string{"kubeadm", "upgrade"}, upgrade, []string{"--ignore-preflight-errors=SystemVerification,Swap,NumCPU"})
	for _, s := range []struct {
		what string
		on   *testbed.Host
		argv []string
	}{
		{"kubeadm's program", h, put("kubeadm")},
		{"kubeadm upgrade " + upgrade[0], h, kubeadm},
		{"drain", operator, append(slices.Clone(kubectl), "drain", h.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m")},
		{"programs", h, put("kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "runc")},
		{"restart", h, []string{"systemctl", "restart", "containerd", "kubelet"}},
	} {
		if _, err := u.step(ctx, s.on, s.what+", "+h.Name, s.argv...); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := u.waitVersion(ctx, h, newKubernetes); err != nil {
		return err
	}
	u.st.say("  %-40s %6.1f s", "Ready, "+h.Name, time.Since(start).Seconds())
	_, err := u.step(ctx, operator, "uncordon, "+h.Name, append(kubectl, "uncordon", h.Name)...)
	return err
}

// step runs a command and tells how long it took.
func (u *upgradeSite) step(ctx context.Context, h *testbed.Host, what string, argv ...string) (string, error) {
	start := time.Now()
	res, err := h.Exec(ctx, argv...)
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", what, err, res.Stdout, res.Stderr)
	}
	u.st.say("  %-40s %6.1f s", what, time.Since(start).Seconds())
	return res.Stdout, nil
}
