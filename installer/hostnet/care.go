package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

const (
	// CareManifest is the static pod of care on a worker.
	CareManifest = installer.KubeDir + "/manifests/" + care.PodName + ".yaml" //docs:file workers: the pod that shows in the cluster what the keeper does

	careUnit     = care.Unit + ".service"
	careUnitPath = unitDir + careUnit   //docs:file workers: the unit of the keeper of the virtual address
	careWanted   = wantedDir + careUnit // the link by which systemd starts it
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
	return n.tellCare(ctx, targets, vip, care.List{Servers: servers}, n.Count)
}

// CareFollows is [Net.SyncCare] as a part of a change that somebody else counts.
func (n Net) CareFollows(ctx context.Context, targets []*fleet.Target) error {
	vip, servers, err := n.VirtualServer()
	if err != nil {
		return err
	}
	_, err = n.tellCare(ctx, targets, vip, care.List{Servers: servers}, n.Sum)
	return err
}

// Withhold has care on every worker send no new connections to the API server of t, and returns once each of them confirms that,
// at most 15 seconds after it was told. What is open to it goes on; a server that was withheld before is no longer. The only API
// server of a cluster is never withheld. An error names the worker, which was not reached, or where no other API server is ready.
//
// A care of an earlier version is replaced, so this run's installer must be in use on the workers ([fleet.Fleet.UseStubs]). A run
// after one that was cut off need not know of it: [Net.SyncCare] ends it.
func (n Net) Withhold(ctx context.Context, t *fleet.Target) error {
	vip, servers, err := n.VirtualServer()
	if err != nil {
		return err
	}
	list := care.List{Servers: servers}
	if len(servers) > 1 {
		list.Withheld = []netip.AddrPort{netip.AddrPortFrom(t.IP, installer.APIServerPort)}
	}
	_, err = n.tellCare(ctx, n.Workers(), vip, list, n.Sum)
	return err
}

// Release ends [Net.Withhold], and returns once care on every worker has found the API server of t ready and sends connections
// there, at most patience after it was told. The error names the worker where that is not so.
func (n Net) Release(ctx context.Context, t *fleet.Target, patience time.Duration) error {
	if err := n.CareFollows(ctx, n.Workers()); err != nil {
		return err
	}
	vip, _, err := n.VirtualServer()
	if err != nil {
		return err
	}
	server := netip.AddrPortFrom(t.IP, installer.APIServerPort)
	return n.Each(ctx, n.Workers(), func(ctx context.Context, worker *fleet.Target) error {
		err := installer.Insist(ctx, patience, func(ctx context.Context) error {
			return n.checkCare(ctx, worker, vip, "--ready", server.String())
		})
		if err != nil {
			return fmt.Errorf("have care send connections to the API server of %s again: %w", t.IP, err)
		}
		return nil
	})
}

func (n Net) tellCare(
	ctx context.Context, targets []*fleet.Target, vip netip.AddrPort, list care.List,
	count func(context.Context, []*fleet.Target, func(context.Context, *fleet.Target) (int, error)) (int, error),
) (changes int, err error) {
	return count(ctx, targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		changed, err := n.syncCare(ctx, t, vip, list)
		if err != nil {
			what := "the masters of now"
			if len(list.Withheld) > 0 {
				what = fmt.Sprintf("no new connections to %v", list.Withheld)
			}
			return 0, fmt.Errorf("have care keep %s with %s: %w", vip, what, err)
		}
		return changed, nil
	})
}

// checkCare waits until care on a host confirms its list, at most 15 seconds.
func (n Net) checkCare(ctx context.Context, t *fleet.Target, vip netip.AddrPort, more ...string) error {
	argv := append([]string{t.Stub, "care", "--check", "--vs", vip.String(), "--list", care.ListFile}, more...)
	_, err := n.ExecAs(ctx, t, "sync-ipvs", "shows that it reaches the masters", agent.ExecRequest{Argv: argv})
	return err
}

func (n Net) syncCare(ctx context.Context, t *fleet.Target, vip netip.AddrPort, list care.List) (int, error) {
	version := path.Base(t.Stub)
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{
		{Path: care.ListFile, Mode: 0o644, Content: list.Format()},
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
	if err := n.checkCare(ctx, t, vip); err != nil {
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
	_, err = n.ExecAs(ctx, t, step, "gives up the virtual address", agent.ExecRequest{Argv: []string{t.Stub, "care", "--clean", "--vs", vip.String()}})
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
