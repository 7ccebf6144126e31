package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// SiteConditions installs on hosts as sites have them, a different condition on each: systemd-resolved on the first
// master only, no default route, names with capitals, a resolver of the host's own, a proxy in systemd's environment.
// What would not work is refused before a host is changed, also on a cluster that is finished.
func SiteConditions(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	b, stop, err := Build(ctx, st)
	if err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	site, err := openUncommonSite(ctx, st, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	if err := site.guardsAreNamed(ctx, st, before); err != nil {
		return err
	}
	if _, err := site.firstRun(ctx, st); err != nil {
		return err
	}
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	if err := site.nodesAreInLowerCase(ctx, st); err != nil {
		return err
	}
	if err := site.podsGetNameServers(ctx, st); err != nil {
		return err
	}
	if err := site.exampleAnswers(ctx, st); err != nil {
		return err
	}
	var figures Figures
	if err := site.secondRun(ctx, st, &figures); err != nil {
		return err
	}
	if err := site.changedSettingsAreChecked(ctx, st); err != nil {
		return err
	}
	if err := site.routeOutlivesThePower(ctx, st); err != nil {
		return err
	}
	if err := site.onlyServicesEscaped(ctx, st); err != nil {
		return err
	}
	return site.resetLeavesNothing(ctx, st, before)
}

// refusing is a name server of the bed that refuses at once.
const refusing = "10.66.0.254"

func openUncommonSite(ctx context.Context, st *story, b Built) (_ *Site, err error) {
	st.heading("booting 3 hosts, each with something uncommon")
	bed, err := testbed.Start(ctx, testbed.Config{Log: io.Discard, Hosts: []testbed.HostConfig{
		{Name: "SRV-K8S-01", NoDefaultRoute: true}, {Name: "Srv-K8s-02"}, {Name: "node3", Resolver: testbed.NoDNS, NoDefaultRoute: true},
	}})
	if err != nil {
		return nil, fmt.Errorf("boot the hosts: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, bed.Close())
		}
	}()
	st.say("%s: systemd-resolved, no default route; %s: a proxy for all services; %s: only a resolver of its own, no default route", bed.Hosts[0].Name, bed.Hosts[1].Name, bed.Hosts[2].Name)
	err = errors.Join(
		withResolved(ctx, bed.Hosts[0], true, refusing),
		withProxy(ctx, bed.Hosts[1], "http://192.0.2.9:3128"),
		withNameServers(ctx, bed.Hosts[2], "127.0.0.1"),
	)
	if err != nil {
		return nil, err
	}
	site := &Site{Bed: bed, Masters: slices.Clone(bed.Hosts[:1]), Nodes: slices.Clone(bed.Hosts[1:]), built: b, file: onSite}
	return site, site.carryIn(ctx, st, b)
}

// refused runs sealinstall and expects it to refuse.
func (s *Site) refused(ctx context.Context, st *story, what string, e expectation, extra ...string) error {
	args := slices.Concat([]string{"/root/sealinstall", "--masters", addresses(s.Masters), "--nodes", addresses(s.Nodes)}, siteFlags(), extra)
	res, err := s.master0().Run(ctx, testbed.Command{Argv: args, Dir: "/root"})
	if err != nil && res.Code < 0 {
		return err
	}
	st.say("--- %s: exit status %d\n%s", what, res.Code, indent([]byte(res.Stdout+res.Stderr)))
	return e.check(what, res.Code, res.Stdout+res.Stderr)
}

// guardsAreNamed is what a first run says of hosts that it would not work on; none is changed.
func (s *Site) guardsAreNamed(ctx context.Context, st *story, before [][]string) error {
	st.heading("what stands in the way is named, and no host is changed")
	worker := s.Nodes[0]
	for _, name := range []string{"fapolicyd", "clamonacc"} {
		if err := withDaemon(ctx, worker, name); err != nil {
			return err
		}
	}
	err := s.refused(ctx, st, "fapolicyd, antivirus and a proxy", expectation{3, []string{
		"fapolicyd runs", "ClamAV on-access scanning (clamonacc) runs", "systemd gives services a proxy: HTTPS_PROXY of systemctl show-environment",
	}})
	for _, name := range []string{"fapolicyd", "clamonacc"} {
		err = errors.Join(err, withoutDaemon(ctx, worker, name))
	}
	err = errors.Join(
		err,
		s.refused(ctx, st, "a host of two families", expectation{2, []string{"IPv6 is not supported yet"}}, "--nodes", addresses(s.Nodes)+",fd00::9"),
		s.refused(ctx, st, "a Service's address as a host", expectation{2, []string{"lies in serviceSubnet"}}, "--nodes", addresses(s.Nodes)+",10.96.0.9"),
	)
	if err != nil {
		return err
	}
	after, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	for i, h := range s.Hosts {
		for _, d := range diff(before[i], after[i]) {
			if !expectedAfterReset(d) {
				err = errors.Join(err, fmt.Errorf("%s was changed: %s", h.Name, d))
			}
		}
	}
	return err
}

func (s *Site) nodesAreInLowerCase(ctx context.Context, st *story) error {
	st.heading("names with capitals")
	names, err := s.kubectl(ctx, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return err
	}
	if names != "node3 srv-k8s-01 srv-k8s-02" {
		return fmt.Errorf("the nodes are called %q", names)
	}
	for _, h := range s.Hosts {
		res, err := h.Exec(ctx, "getent", "hosts", "SRV-K8S-01", "srv-k8s-01")
		if err != nil || strings.Count(res.Stdout, s.master0().Addr) != 2 {
			return fmt.Errorf("%s finds for both spellings of the master: %q, %w", h.Name, res.Stdout, err)
		}
	}
	st.say("nodes %s; every host finds the master in either spelling", names)
	return nil
}

// podsGetNameServers looks at what kubelet gives to pods on each host: servers that are there, of a file that is there.
func (s *Site) podsGetNameServers(ctx context.Context, st *story) error {
	st.heading("name servers of pods")
	const file = "/var/lib/sealos/data/default/etc/resolv.conf"
	for i, want := range []struct{ link, server string }{{"/run/systemd/resolve/resolv.conf", refusing}, {"/etc/resolv.conf", refusing}, {file, s.Nodes[1].Addr}} {
		h := s.Hosts[i]
		res, err := h.Exec(ctx, "bash", "-c", "grep -H resolvConf /var/lib/kubelet/config.yaml; readlink -f "+file+"; cat "+file)
		if err != nil {
			return err
		}
		for _, says := range []string{"resolvConf: " + file, want.link, "nameserver " + want.server} {
			if !strings.Contains(res.Stdout, says) {
				return fmt.Errorf("%s: %q is not in\n%s", h.Name, says, res.Stdout)
			}
		}
		st.say("%s: %s, nameserver %s", h.Name, want.link, want.server)
	}
	return nil
}

// changedSettingsAreChecked gives a finished cluster settings that a first run would refuse.
func (s *Site) changedSettingsAreChecked(ctx context.Context, st *story) error {
	st.heading("settings that changed are checked like first ones")
	return errors.Join(
		s.refused(ctx, st, "a port that sshd has", expectation{3, []string{"port 22 is taken by sshd"}}, "-e", "registryPort=22"),
		s.refused(ctx, st, "a value that is none", expectation{3, []string{`swapMode is "nonsense"`}}, "-e", "swapMode=nonsense"),
	)
}

// routeOutlivesThePower takes the power from a host without a default route.
func (s *Site) routeOutlivesThePower(ctx context.Context, st *story) error {
	h := s.Nodes[1]
	st.heading("the power of %s goes and comes back", h.Name)
	if err := errors.Join(h.PowerOff(ctx), h.PowerOn(ctx)); err != nil {
		return err
	}
	res, err := h.Exec(ctx, "ip", "route", "get", "10.96.0.1")
	if err != nil {
		return fmt.Errorf("no route to Services after the boot of %s: %w", h.Name, err)
	}
	st.say("%s# ip route get 10.96.0.1\n%s", h.Name, res.Stdout)
	if err := s.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	// For a while the API tells of pods as they were before.
	for end := time.Now().Add(3 * time.Minute); ; {
		err := s.exampleAnswers(ctx, st)
		if err == nil {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(3 * time.Second)
	}
	var figures Figures
	return s.secondRun(ctx, st, &figures)
}
