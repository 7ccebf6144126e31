package status

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/health"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

// all is everything that was told, in the order of the targets.
type all struct {
	hosts   []*answers
	cluster cluster
	images  map[string]bool // see [Room.bundleBlobs]
	at      time.Time
}

// verdict is a status that is being made.
type verdict struct {
	*Status
	*Room
	all
	c        *installer.Cluster // as the newest record has it: with hosts that this machine does not know
	takenOut []string           // addresses, by the newest record
}

// judge makes the status of what was told.
func (r *Room) judge(a all) Status {
	s := Status{Cluster: r.Cluster.Name, Kubernetes: r.Payload.Rootfs().KubeVersion(), At: a.at.UTC().Truncate(time.Second), Hosts: []Host{}}
	v := verdict{Status: &s, Room: r, all: a, c: r.Cluster}
	v.record()
	for _, h := range a.hosts {
		v.host(h)
	}
	v.alien()
	v.certificates()
	v.disks()
	v.registry()
	v.etcd()
	v.servers()
	v.api()
	v.undone()
	s.Ready = len(s.Problems) == 0 && len(s.Waiting) == 0 && len(s.Undone) == 0
	for _, h := range s.Hosts {
		s.Ready = s.Ready && h.Joined && h.Stopped == ""
	}
	return s
}

func (v *verdict) problem(ip, check, remedy, format string, args ...any) {
	v.Problems = append(v.Problems, preflight.Problem{Host: ip, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

// differs adds that something is not as the record has it. While an installer changes that, it is no problem.
func (v *verdict) differs(ip, check, remedy, format string, args ...any) {
	if v.LockedBy == "" {
		v.problem(ip, check, remedy, format, args...)
		return
	}
	v.warn("%s%s; an installer works on the cluster", prefixed(ip), fmt.Sprintf(format, args...))
}

// prefixed is a host before what is told of it; empty where that is the cluster.
func prefixed(ip string) string {
	if ip == "" {
		return ""
	}
	return ip + ": "
}

func (v *verdict) warn(format string, args ...any) {
	v.Warnings = append(v.Warnings, fmt.Sprintf(format, args...))
}

// host adds what one host is.
func (v *verdict) host(a *answers) {
	t := a.t
	ip := t.IP.String()
	h := Host{
		Address: ip, Hostname: t.Facts.Hostname, Role: t.Role(), Reached: a.reach == nil && (a.none || a.files != nil),
		Begun: t.Begun(), Joined: t.Joined(), Installer: a.version, Older: a.older,
	}
	if h.Joined && t.Looked {
		h.Stopped = fleet.StoppedIn(t.Facts)
	}
	for line := range strings.Lines(t.Journal.Of(journal.Images)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] != "-" && h.Kubelet == "" {
			h.Kubelet = f[1]
		}
	}
	v.Asked = v.Asked || h.Reached
	v.Hosts = append(v.Hosts, h)
	for _, err := range []error{a.reach, a.look} {
		for _, p := range preflight.From(t.Failed(err), "connect") {
			if p.Remedy == preflight.MendIt {
				p.Remedy = "give it its power and network back, or look what keeps it from answering"
			}
			v.Problems = append(v.Problems, p)
		}
	}
	if len(a.older) > 0 {
		v.warn("%s: its installer is older and cannot tell %s", ip, strings.Join(a.older, ", nor "))
	}
	if by := t.Facts.LockedBy; by != "" && (v.LockedBy == "" || v.LockedStep == "") {
		var rest string
		v.LockedBy, rest, _ = strings.Cut(by, "\n") // an older stub tells both lines as one
		v.LockedStep, _, _ = strings.Cut(cmp.Or(t.Facts.LockStep, rest), "\n")
	}
}

// alien finds hosts that are in another cluster of the same name.
func (v *verdict) alien() {
	own, _ := os.ReadFile(v.State.Path("pki", "ca.crt")) // a machine that did not make the cluster has none
	from := v.State.Dir
	for _, a := range v.all.hosts {
		has := a.files[authorityFile]
		switch {
		case !a.t.Joined() || len(has) == 0:
		case len(own) == 0:
			own, from = has, a.t.IP.String()
		case !bytes.Equal(own, has):
			v.problem(a.t.IP.String(), "another-cluster", "use another --cluster name here; or, for that other cluster, run this where it was made, or with SEALOS_RUNTIME_ROOT=DIR of its own",
				"it is in another cluster that is named %s, too: its certificate authority is not the one of %s", v.c.Name, from)
		}
	}
}

// api adds what the cluster itself says.
func (v *verdict) api() {
	for _, h := range v.Hosts {
		if h.Stopped != "" {
			v.Waiting = append(v.Waiting, fmt.Sprintf("host %s: %s", h.Address, h.Stopped))
		}
	}
	total, away := 0, []string{}
	reached := 0
	for _, m := range v.c.Masters() {
		i := slices.IndexFunc(v.all.hosts, func(a *answers) bool { return a.t.IP == m.IP })
		switch {
		case i < 0 || v.all.hosts[i].files == nil && !v.all.hosts[i].none:
			away = append(away, m.IP.String())
			total++
		case v.Hosts[i].Joined:
			total, reached = total+1, reached+1
		}
	}
	v.Causes = v.cluster.causes
	if reached == 0 {
		v.Waiting, v.Causes = append(v.Waiting, kube.ErrNoControlPlane.Error()), nil
		return
	}
	if v.cluster.err != nil {
		v.Problems = append(v.Problems, health.NoMajority(reached, total, away, v.cluster.err))
		return
	}
	seen := v.cluster.seen
	hosts := v.hostsIn(seen.Nodes)
	for i, a := range v.all.hosts {
		if h := site.KubeHost(a.t); h.Node != "" {
			hosts[i].Node = h.Node // also where somebody has deleted its Node
		}
		n, ok := kube.NodeOf(seen.Nodes, hosts[i])
		if !ok {
			continue
		}
		h := &v.Hosts[i]
		h.Hostname, h.NodeReady, h.Runtime = cmp.Or(h.Hostname, n.Name), n.Ready, n.Runtime
		h.Kubelet = cmp.Or(n.Version, h.Kubelet)
	}
	w := seen.Lacks(hosts)
	v.Waiting = slices.Concat(v.Waiting, w.Lines, w.Pressure)
	var strange []kube.Node
	for _, n := range kube.Strangers(w.Nodes, hosts) {
		if slices.Contains(v.takenOut, n.IP) {
			v.differs(n.IP, "taken-out", "switch it off or wipe its disk, and `kubectl delete node "+n.Name+"`; or `sealinstall add` takes it in again",
				"it was taken out of the cluster, and its node %s is in the cluster again: pods may run there", n.Name)
		} else {
			v.warn("node %s is in the cluster, and none of the hosts that were asked", n.Title())
		}
		if n.Ready != "True" {
			strange = append(strange, n)
		}
	}
	v.Waiting = append(v.Waiting, kube.NotReady(strange)...)
	for _, ip := range v.cluster.back {
		if slices.Contains(v.takenOut, ip) && !slices.ContainsFunc(seen.Nodes, func(n kube.Node) bool { return n.IP == ip }) {
			v.warn("%s: it was taken out of the cluster while it was dead, and a kubelet answers there: it is back with its old disk, unless it is in another cluster now. This cluster places nothing there. `sealinstall add` takes it in again; else wipe its disk", ip)
		}
	}
	for _, app := range w.Apps {
		v.warn("application: %s", app)
	}
	for _, p := range seen.Unready {
		if slices.ContainsFunc(seen.Nodes, func(n kube.Node) bool { return n.Name == p.Node && n.Ready == "Unknown" }) {
			continue // nothing is known of it but that its node is silent
		}
		v.Pods = append(v.Pods, Pod{Name: p.Title(), Node: p.Node, Why: installer.Plain(p.Why())})
	}
	v.versions()
}

// versions tells where hosts do not run the same.
func (v *verdict) versions() {
	by := map[string][]string{}
	for _, h := range v.Hosts {
		if h.Joined && h.Kubelet != "" {
			by[h.Kubelet] = append(by[h.Kubelet], h.Address)
		}
	}
	if len(by) < 2 {
		return
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, installer.HostList(by[version])+" "+version)
	}
	v.warn("hosts run different versions of kubelet: %s", strings.Join(parts, "; "))
}

// record takes the newest record of this machine and the masters.
func (v *verdict) record() {
	newest := v.Room.Cluster
	for _, a := range v.all.hosts {
		if a.record != nil && (newest.Status.Phase == "" || wroteAt(a.record).After(wroteAt(newest))) {
			newest = a.record
		}
	}
	if version := newest.Status.KubeVersion(); version != "" {
		v.Kubernetes = version
	}
	v.Record = Record{Phase: newest.Status.Phase, At: wroteAt(newest)}
	for _, c := range newest.Status.Conditions {
		v.Record.Message = c.Message
		if newest.Status.Phase == installer.PhaseFailed {
			v.Record.Step = c.Reason
		}
	}
	known := *v.Room.Cluster
	known.Hosts = slices.Clone(known.Hosts)
	var others []string
	for _, h := range newest.Hosts {
		if !slices.ContainsFunc(known.Hosts, func(k installer.Host) bool { return k.IP == h.IP }) {
			h.Away = true
			known.Hosts, others = append(known.Hosts, h), append(others, h.IP.String())
		}
	}
	v.c, v.takenOut = &known, newest.TakenOut()
	v.Room = v.Room.knowing(newest)
	if !newest.MadeWith(v.Payload.Bundle.IndexDigest().String()) {
		v.images = nil
	}
	known.Env = v.Room.Cluster.Env
	if len(others) > 0 {
		v.warn("%s: in the record of a master, and not asked: this machine does not know of them", installer.HostList(others))
	}
}

// wroteAt is when a record was written.
func wroteAt(c *installer.Cluster) (last time.Time) {
	for _, condition := range c.Status.Conditions {
		if t, err := time.Parse(time.RFC3339, condition.LastHeartbeatTime); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// undone lists work that was begun and has not come to its end. While an installer works, it is that one's.
func (v *verdict) undone() {
	if v.LockedBy != "" {
		return
	}
	add := func(format string, args ...any) { v.Undone = append(v.Undone, fmt.Sprintf(format, args...)) }
	r := v.Record
	switch {
	case r.Phase == installer.PhaseInProcess:
		add("a change was begun and did not come to its end: run the same command again")
	case v.c.Status.TakenApart():
		add("a reset has left hosts out: %s", r.Message)
	case r.Phase == installer.PhaseFailed && r.Step != "" && r.Step != "Failed":
		add("the last change failed at step %s: %s", r.Step, r.Message)
	case r.Phase == installer.PhaseFailed:
		add("the last change failed: %s", r.Message)
	}
	if _, not, ok := strings.Cut(r.Message, "not looked at: "); ok && r.Phase == installer.PhaseSuccess {
		v.warn("the last change has not looked at: %s", not)
	}
	// The installer of an older cluster did not set the mark of images.
	marked := slices.ContainsFunc(v.all.hosts, func(a *answers) bool { return a.t.Joined() && a.t.Journal.Has(journal.Images) })
	by := map[string][]string{}
	var order []string
	for _, a := range v.all.hosts {
		what, j := "", &a.t.Journal
		switch {
		case a.none && r.Phase == installer.PhaseSuccess:
			what = "it is recorded as a host of the cluster, and nothing of that is there"
		case a.files == nil:
			continue
		case j.Has(journal.Cleaned):
			what = "a reset was begun there and did not come to its end"
		case upgrade.Unfinished(j.Of(journal.Upgrade)) != "":
			what = upgrade.Unfinished(j.Of(journal.Upgrade))
		case j.Has(journal.KubeadmBegun) && !a.t.Joined():
			what = "kubeadm was begun there and did not come to its end"
		case a.t.Joined() && !j.Has(journal.Images) && marked:
			what = "the images there were being exchanged"
		case a.t.Begun() && !a.t.Joined():
			what = "the cluster was begun there and the host has not joined"
		case !a.t.Joined() && r.Phase == installer.PhaseSuccess:
			what = "it is recorded as a host of the cluster and has not joined"
		}
		if what != "" && by[what] == nil {
			order = append(order, what)
		}
		if what != "" {
			by[what] = append(by[what], a.t.IP.String())
		}
	}
	for _, what := range order {
		add("%s: %s", installer.HostList(by[what]), what)
	}
}
