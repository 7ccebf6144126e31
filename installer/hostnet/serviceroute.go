package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// The unit that makes the route again at every boot, and the link by which systemd starts it.
const (
	routeUnit     = "sealos-service-route.service"
	routeUnitPath = unitDir + routeUnit //docs:file hosts: the unit of the route to Services, where a host has no route that covers them
	routeWanted   = wantedDir + routeUnit

	unitDir   = "/etc/systemd/system/"
	wantedDir = unitDir + "multi-user.target.wants/"
)

// settleServiceRoute gives a host routes to Services, unless it has others that cover them. It counts one change if it
// wrote any. asked are the networks to which the facts of the host say whether it has a route.
func (n Net) settleServiceRoute(ctx context.Context, t *fleet.Target, networks []netip.Prefix, asked []string) (changes int, err error) {
	var ours []string
	for _, p := range networks {
		text := p.String()
		if slices.Contains(asked, text) && !slices.Contains(t.Facts.NoRoute, text) && !slices.Contains(t.Facts.ServiceRoutes, text) {
			continue
		}
		argv := []string{t.Stub, "care", "--service-route", text}
		res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, TimeoutSeconds: 30}, nil)
		if err == nil && res.Code != 0 {
			err = &installer.CommandError{Host: t.IP.String(), Command: strings.Join(argv[1:], " "), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
		}
		if err != nil {
			return 0, fmt.Errorf("make a route to Services: %w", err)
		}
		if strings.TrimSpace(string(res.Stdout)) != "" {
			ours = append(ours, text)
		}
	}
	if len(ours) == 0 {
		return 0, nil
	}
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{
		{Path: routeUnitPath, Mode: 0o644, Content: routeUnitFile(ours)},
		{Path: routeWanted, Link: routeUnitPath},
	})
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", routeUnit, err)
	}
	if len(changed) == 0 {
		return 0, nil
	}
	n.Report.Infof("%s: no route of the host covers the addresses of Services; it has one of the installer's now, also after a boot (%s)", t.IP, routeUnit)
	return 1, nil
}

// whereStub has systemd leave a unit out on a host that has lost the disk with the installer: a unit that fails hides others.
const whereStub = "ConditionFileIsExecutable=" + installer.StubPath + "\n"

func routeUnitFile(networks []string) []byte {
	var b strings.Builder
	b.WriteString("# Installed by sealos; the installer knows units of its own by this line.\n[Unit]\n" +
		"Description=route to the addresses of Services, which this host has no other for\n" + whereStub + "Before=kubelet.service containerd.service\n\n" +
		"[Service]\nType=oneshot\nRemainAfterExit=yes\n")
	for _, n := range networks {
		fmt.Fprintf(&b, "ExecStart=%s care --service-route %s\n", installer.StubPath, n)
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return []byte(b.String())
}

// RemoveServiceRoute removes route and unit.
func (n Net) RemoveServiceRoute(ctx context.Context, t *fleet.Target) error {
	found, err := t.Agent.ReadFiles(ctx, []string{routeUnitPath})
	if err != nil {
		return err
	}
	_, unit := found[routeUnitPath]
	if !unit && len(t.Facts.ServiceRoutes) == 0 {
		return nil
	}
	return n.removeUnit(ctx, t, routeUnit, "--service-route", "all")
}

// removeUnit ends a unit whose routes care has made, and removes both. undo says to care what is meant.
func (n Net) removeUnit(ctx context.Context, t *fleet.Target, unit string, undo ...string) error {
	// systemd may know the unit from a boot. Stopping it makes systemd forget it.
	if _, err := n.systemctl(ctx, t, "stop", unit); err != nil {
		return err
	}
	argv := append([]string{t.Stub, "care", "--clean"}, undo...)
	if _, err := n.ExecAs(ctx, t, "remove", "gives up the routes that were made for it", agent.ExecRequest{Argv: argv}); err != nil {
		return fmt.Errorf("remove the routes of %s: %w", unit, err)
	}
	// The unit goes last: while it is there, a reset that was cut off knows that there is a route to remove.
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: wantedDir + unit, Remove: true}, {Path: unitDir + unit, Remove: true}}); err != nil {
		return err
	}
	_, err := n.systemctl(ctx, t, "daemon-reload")
	return err
}
