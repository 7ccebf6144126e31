package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

const (
	// CareManifest is the static pod of care on a worker.
	CareManifest = installer.KubeDir + "/manifests/" + care.PodName + ".yaml"

	careUnit     = care.Unit + ".service"
	careUnitPath = "/etc/systemd/system/" + careUnit
	careWanted   = "/etc/systemd/system/multi-user.target.wants/" + careUnit // the link by which systemd starts it
)

// SyncCare has care keep the virtual address on these workers, joined or about to join, with exactly the masters of
// [site.Site.VirtualServer], and returns once each of them confirms that it does and the address answers, at most 15 seconds
// after it was told. It counts one change for each host where it changed anything. The error names the host, what stands in the
// way there, and what to look at.
func (n Net) SyncCare(ctx context.Context, targets []*fleet.Target) (changes int, err error) {
	vip, servers, err := n.VirtualServer()
	if err != nil {
		return 0, err
	}
	return n.Count(ctx, targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		changed, err := n.syncCare(ctx, t, vip, servers)
		if err != nil {
			return 0, fmt.Errorf("have care keep %s with the masters of now: %w", vip, err)
		}
		return changed, nil
	})
}

func (n Net) syncCare(ctx context.Context, t *fleet.Target, vip netip.AddrPort, servers []netip.AddrPort) (int, error) {
	version := path.Base(t.Stub)
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{
		{Path: care.ListFile, Mode: 0o644, Content: care.FormatList(servers)},
		{Path: careUnitPath, Mode: 0o644, Content: care.UnitFile(installer.StubPath, version, vip)},
		{Path: careWanted, Link: careUnitPath},
	})
	if err != nil {
		return 0, err
	}
	changes := min(len(changed), 1)
	started, err := n.runCare(ctx, t, care.Description(vip, version))
	if err != nil {
		return 0, err
	}
	if started {
		changes = 1
	}
	if _, err := n.Exec(ctx, t, "sync-ipvs", t.Stub, "care", "--check", "--vs", vip.String(), "--list", care.ListFile); err != nil {
		return 0, err
	}
	// The pod of an earlier version balances by the list in its command line, and would go on doing so.
	found, err := t.Agent.ReadFiles(ctx, []string{CareManifest})
	if err != nil || !bytes.Contains(found[CareManifest], []byte("--rs")) {
		return changes, err
	}
	_, err = t.Agent.WriteFiles(ctx, []agent.File{{Path: CareManifest, Remove: true}})
	return 1, err
}

// runCare starts the unit, unless what runs is what the unit's file says by its description. A unit of before, also a transient
// one, is replaced.
func (n Net) runCare(ctx context.Context, t *fleet.Target, description string) (started bool, err error) {
	show, err := n.systemctl(ctx, t, "show", "-p", "ActiveState", "-p", "Description", careUnit)
	if err != nil {
		return false, err
	}
	if lines := strings.Split(show, "\n"); slices.Contains(lines, "ActiveState=active") && slices.Contains(lines, "Description="+description) {
		return false, nil
	}
	if !t.Facts.Modules["ip_vs"] {
		n.Report.Warnf("%s: its kernel has no ip_vs: the virtual address is served by a userspace proxy instead", t.IP)
	}
	// Stopped first, so that nothing that was killed in between looks done.
	for _, args := range [][]string{{"stop", careUnit}, {"daemon-reload"}, {"start", careUnit}} {
		if _, err := n.systemctl(ctx, t, args...); err != nil {
			return false, err
		}
	}
	return true, nil
}

// systemctl runs it and gives its output. Stopping a unit that is not there is fine.
func (n Net) systemctl(ctx context.Context, t *fleet.Target, args ...string) (string, error) {
	res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: append([]string{"systemctl"}, args...), TimeoutSeconds: 60}, nil)
	if err == nil && res.Code != 0 && args[0] != "stop" {
		err = &installer.CommandError{Host: t.IP.String(), Command: "systemctl " + strings.Join(args, " "), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	return string(res.Stdout), err
}

// EndCare ends care on a host, whichever version started it, and takes its rules and its route out of the kernel.
func (n Net) EndCare(ctx context.Context, t *fleet.Target, step string) error {
	vip, _, err := n.VirtualServer()
	if err != nil {
		return err
	}
	if _, err := n.systemctl(ctx, t, "stop", careUnit); err != nil {
		return err
	}
	_, err = n.Exec(ctx, t, step, t.Stub, "care", "--clean", "--vs", vip.String())
	return err
}

// RemoveCare ends care on a host that has its unit, and takes away all that it has made there. Its pod is kubelet's, and goes with
// the manifests.
func (n Net) RemoveCare(ctx context.Context, t *fleet.Target) error {
	found, err := t.Agent.ReadFiles(ctx, []string{careUnitPath})
	if err != nil || found[careUnitPath] == nil {
		return err
	}
	if err := n.EndCare(ctx, t, "remove"); err != nil {
		return err
	}
	if err := t.Agent.Remove(ctx, []string{care.Dir}); err != nil {
		return err
	}
	// The unit goes last: while it is there, a reset that was cut off knows that there is something to remove.
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: careWanted, Remove: true}, {Path: careUnitPath, Remove: true}}); err != nil {
		return err
	}
	_, err = n.systemctl(ctx, t, "daemon-reload")
	return err
}
