package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// HA makes a cluster of three masters and one node with one command, takes the power from the first master, damages its registry,
// and gives the power back.
func HA(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := buildAndOpen(ctx, st, 3, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	spare := site.Nodes[1]
	site.Nodes = site.Nodes[:1]
	st.heading("sealinstall: three masters and one node")
	start := time.Now()
	sum, _, err := site.install(ctx, st)
	if err != nil {
		return err
	}
	if err := site.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	for _, s := range sum.Steps {
		st.say("  %-22s %6.1f s", s.Step, s.Seconds)
	}
	st.say("  %-22s %6.1f s", "whole", time.Since(start).Seconds())
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	if err := site.everyMasterCounts(ctx, st); err != nil {
		return err
	}
	if err := site.mastersPinTheirImages(ctx, st); err != nil {
		return err
	}
	if err := site.registriesAreEqual(ctx, st); err != nil {
		return err
	}
	var figures Figures
	if err := site.secondRun(ctx, st, &figures); err != nil {
		return err
	}
	if err := site.onlyServicesEscaped(ctx, st); err != nil {
		return err
	}
	if err := supportBundle(ctx, site, st, nil); err != nil {
		return err
	}
	if err := site.outlivesAMaster(ctx, st, spare); err != nil {
		return err
	}
	if err := site.damagedRegistryIsLeft(ctx, st); err != nil {
		return err
	}
	return site.onlyServicesEscaped(ctx, st)
}

// everyMasterCounts checks that each master has an etcd member, serves the
// registry, and stands behind the node's virtual address.
func (s *Site) everyMasterCounts(ctx context.Context, st *story) error {
	st.heading("every master counts")
	pods, err := s.kubectl(ctx, "get", "pods", "-n", "kube-system", "-l", "component=etcd", "--no-headers")
	if err != nil {
		return err
	}
	if n := strings.Count(pods, "Running"); n != len(s.Masters) {
		return fmt.Errorf("%d etcd members run:\n%s", n, pods)
	}
	// The same question that kubelet asks for the pod of care, which is there, too.
	if _, err := s.Nodes[0].Exec(ctx, "test", "-f", "/etc/kubernetes/manifests/kube-sealos-care.yaml"); err != nil {
		return fmt.Errorf("%s has no pod of care: %w", s.Nodes[0].Name, err)
	}
	kept, err := s.Nodes[0].Exec(ctx, "/var/lib/sealos/bin/sealinstall", "care", "--check", "--vs", "10.103.97.2:6443", "--list", "/var/lib/sealos/care/servers")
	if err != nil {
		return err
	}
	for _, m := range s.Masters {
		if !strings.Contains(kept.Stdout, m.Addr+":6443") {
			return fmt.Errorf("%s does not stand behind the virtual address:\n%s", m.Name, kept.Stdout)
		}
		res, err := m.Exec(ctx, "systemctl", "is-active", "registry")
		if err != nil {
			return fmt.Errorf("the registry of %s: %w: %s", m.Name, err, res.Stdout)
		}
	}
	res, err := s.Nodes[0].Exec(ctx, "grep", "apiserver.cluster.local", "/etc/hosts")
	if err != nil {
		return err
	}
	st.say("%d etcd members, %d registries; the node's %s", len(s.Masters), len(s.Masters), strings.TrimSpace(res.Stdout))
	return nil
}
