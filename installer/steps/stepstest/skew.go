package stepstest

import (
	"slices"
)

// watchSkew notes programs that are newer, or older, than those that they talk to allow: API servers more than one minor
// apart, a kubelet or a kube-proxy that is newer than an API server it may come to, a kubelet more than three minors older.
func watchSkew(s *Site) {
	if s.kube == nil {
		return
	}
	var oldest, newest *Machine
	for _, m := range s.machines {
		if m.off || minor(m.version("kube-apiserver")) < 0 {
			continue
		}
		if oldest == nil || minor(m.version("kube-apiserver")) < minor(oldest.version("kube-apiserver")) {
			oldest = m
		}
		if newest == nil || minor(m.version("kube-apiserver")) > minor(newest.version("kube-apiserver")) {
			newest = m
		}
	}
	if oldest == nil {
		return
	}
	low, high := oldest.version("kube-apiserver"), newest.version("kube-apiserver")
	if minor(high)-minor(low) > 1 {
		breach(s, "skew: the API server of %s is %s, and that of %s is %s", newest.IP, high, oldest.IP, low)
	}
	if proxy := s.kube.proxyImage; proxy != "" && minor(tagOf(proxy)) > minor(low) {
		breach(s, "skew: kube-proxy is to be %s, and the API server of %s is %s", tagOf(proxy), oldest.IP, low)
	}
	for _, m := range s.machines {
		runs := minor(m.programs.kubelet)
		if runs < 0 || !m.kubelet() || !m.tree.has(kubeletConf) {
			continue
		}
		for _, server := range serversOf(m) {
			switch at := server.version("kube-apiserver"); {
			case minor(at) < 0:
			case runs > minor(at):
				breach(s, "skew: the kubelet of %s is %s, and it may come to the API server of %s, which is %s", m.IP, m.programs.kubelet, server.IP, at)
			case runs < minor(at)-3:
				breach(s, "skew: the kubelet of %s is %s, and the API server of %s is %s", m.IP, m.programs.kubelet, server.IP, at)
			}
		}
	}
}

// breach is a violation that is noted once.
func breach(s *Site, format string, args ...any) {
	before := len(s.violations)
	s.violated(format, args...)
	if slices.Contains(s.violations[:before], s.violations[before]) {
		s.violations = s.violations[:before]
	}
}

// watchStop notes what clients see when the container of a static pod is ended because its manifest says so, while others could
// have served them. It notes nothing on a site that does not watch.
func watchStop(m *Machine, pod string) {
	s := m.site
	if !s.Watch || s.kube == nil {
		return
	}
	voters, up, _ := voters(s)
	switch pod {
	case "etcd":
		is := s.kube.members[m.IP]
		switch {
		case voters < 3 || !is.voter || !s.runs(m):
			return
		case up-1 <= voters/2 && !struck(s):
			breach(s, "etcd: its member on %s was stopped while %d of %d run", m.IP, up, voters)
		case s.kube.leader == m.IP:
			breach(s, "etcd: its leader, on %s, was stopped; all requests wait for the next one", m.IP)
		}
	case "kube-apiserver":
	default:
		return
	}
	// Its API server does not answer without the etcd beside it, either.
	if !slices.ContainsFunc(s.machines, func(o *Machine) bool { return o != m && s.serves(o) }) || !s.serves(m) {
		return
	}
	for _, o := range s.machines {
		if o != m && sendsTo(o, m) && o.kubelet() {
			breach(s, "clients: %s on %s was stopped while %s sent requests there", pod, m.IP, o.IP)
		}
	}
}

// struck tells whether a fault has taken a machine, or its disk, since [Site.Arm].
func struck(s *Site) bool {
	return s.fault != nil && s.fault.fired != Event{} && slices.Contains([]FaultKind{PowerCut, Reboot, DiskFull}, s.fault.Kind)
}

// watchKubelet notes a kubelet of another minor that starts while pods of workloads run on its host: it may start them anew.
// Where there is no other node, pods have nowhere to go.
func watchKubelet(m *Machine, before string) {
	s := m.site
	now := m.programs.kubelet
	if s.kube == nil || minor(before) < 0 || minor(before) == minor(now) || !s.kube.has(m.node()) || len(s.kube.nodes) < 2 || struck(s) {
		return
	}
	for _, p := range s.kube.pods {
		if p.node == m.node() && p.app.Kind != "DaemonSet" && p.seen {
			breach(s, "skew: kubelet of %s went from %s to %s while %s/%s ran there", m.IP, before, now, p.app.Namespace, p.name)
		}
	}
}

// watchApps notes workloads of which fewer pods are Ready than their budget allows, once as many were.
func (s workloads) watchApps() {
	if !s.Watch || struck(s.Site) {
		return
	}
	for i := range s.kube.apps {
		a := &s.kube.apps[i]
		if a.MinAvailable == 0 || a.Sick {
			continue
		}
		switch healthy, _, _ := s.budget(*a); {
		case healthy >= a.MinAvailable:
			a.served = true
		case a.served:
			breach(s.Site, "clients: %d of the %d pods that %s/%s needs were Ready", healthy, a.MinAvailable, a.Namespace, a.Name)
		}
	}
}
