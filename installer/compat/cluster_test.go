package compat

import (
	"net/netip"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

func hostOf(ip string, master bool) installer.Host {
	return installer.Host{IP: netip.MustParseAddr(ip), Master: master}
}

// told of a problem in short: where, what kind, and of which weight.
func lines(problems []preflight.Problem) []string {
	out := []string{}
	for _, p := range problems {
		weight := "problem"
		if p.Warning {
			weight = "warning"
		}
		out = append(out, p.Host+" "+p.Check+" "+weight+": "+p.Message+" | "+p.Remedy)
	}
	return out
}

func TestHostsThatDoNotAnswerAndNodesThatAreNotReadyStopAnUpgrade(t *testing.T) {
	hosts := []installer.Host{hostOf("10.0.0.1", true), hostOf("10.0.0.2", true), hostOf("10.0.0.3", true), hostOf("10.0.0.4", false), hostOf("10.0.0.5", false)}
	st := &site.Site{Fleet: &fleet.Fleet{}, Cluster: &installer.Cluster{Hosts: hosts}}
	for _, h := range hosts {
		target := &fleet.Target{Host: h, Looked: h.IP.String() != "10.0.0.3" && h.IP.String() != "10.0.0.5"}
		target.Facts.Hostname = "Host-" + h.IP.String()[7:]
		st.Targets = append(st.Targets, target)
	}
	nodes := []kube.Node{
		{Name: "host-1", IP: "10.0.0.1", Ready: "True"},
		{Name: "host-2", IP: "10.0.0.2", Ready: "False", Message: "container runtime is down"},
		{Name: "host-3", IP: "10.0.0.3", Ready: "Unknown", Message: "Kubelet stopped posting node status."},
		{Name: "host-4", IP: "10.0.0.4", Ready: "True"},
		{Name: "host-5", IP: "10.0.0.5", Ready: "Unknown", Message: "Kubelet stopped posting node status."},
		{Name: "old", IP: "10.0.0.9", Ready: "Unknown", Message: "Kubelet stopped posting node status."},
	}
	want := []string{
		"10.0.0.2 cluster problem: node host-2 is not Ready: container runtime is down | mend what it names; `sealinstall status` tells more",
		"10.0.0.3 connect problem: the master does not answer, and an upgrade takes every host: add-ons stay as they are while a master is known that was not upgraded" +
			" | give it its power or network back; if it never comes back: sealinstall delete --dead --masters 10.0.0.3",
		"10.0.0.5 connect problem: the node does not answer, and an upgrade takes every host | give it its power or network back; if it never comes back: sealinstall delete --dead --nodes 10.0.0.5",
		" cluster problem: node old (10.0.0.9) is not Ready, and is none of the recorded hosts: Kubelet stopped posting node status. | bring the host back; if it is gone for good: kubectl delete node old",
	}
	if diff := cmp.Diff(want, lines(hostProblems(st, nodes))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestVersionsGoUpOneMinorAtATimeAndNeverBack(t *testing.T) {
	const name = "registry.k8s.io/kube-apiserver:"
	for what, c := range map[string]struct {
		server, kubelet, to string
		want                []string // the beginnings of messages
	}{
		"one up":                     {"v1.35.4", "v1.35.4", "v1.36.3", nil},
		"a patch up":                 {"v1.36.1", "v1.36.1", "v1.36.3", nil},
		"the same":                   {"v1.36.3", "v1.36.3", "v1.36.3", nil},
		"half way":                   {"v1.36.3", "v1.35.4", "v1.36.3", nil},
		"a minor skipped":            {"v1.34.2", "v1.34.2", "v1.36.3", []string{"the API server is v1.34.2, and v1.36.3 would skip a minor version | upgrade one minor version at a time: a bundle of v1.35 comes first"}},
		"back a minor":               {"v1.36.3", "v1.36.3", "v1.35.4", []string{"the API server is v1.36.3, and the bundle brings v1.35.4: an upgrade does not go back (the record says v1.35.4)", "kubelet is v1.36.3, and the bundle"}},
		"back a patch":               {"v1.36.3", "v1.36.3", "v1.36.2", []string{"the API server is v1.36.3, and the bundle", "kubelet is v1.36.3, and the bundle"}},
		"an old kubelet that may be": {"v1.35.4", "v1.33.1", "v1.36.3", nil},
		"a kubelet that is too old":  {"v1.35.4", "v1.32.9", "v1.36.3", []string{"kubelet is v1.32.9, more than 3 minor versions behind v1.36.3"}},
		"a server that tells none":   {"latest", "v1.35.4", "v1.36.3", []string{`the API server tells no version ("latest")`}},
		"kubelets never heard of":    {"v1.35.4", "", "v1.36.3", nil},
	} {
		nodes := []kube.Node{{Name: "a", IP: "10.0.0.1", Version: c.kubelet}}
		got := versionProblems(nodes, []kube.Runs{{Node: "a", Image: name + c.server}}, "v1.35.4", semver.MustParse(c.to))
		ok := len(got) == len(c.want)
		for i := range got {
			text := got[i].Message + " | " + got[i].Remedy
			ok = ok && len(text) >= len(c.want[i]) && text[:len(c.want[i])] == c.want[i] && got[i].Host == "10.0.0.1" && got[i].Check == "version"
		}
		if !ok {
			t.Errorf("%s: %q, want %q", what, lines(got), c.want)
		}
	}
}

func TestEtcdIsHealthyOnEveryMasterBeforeAnUpgrade(t *testing.T) {
	masters := []installer.Host{hostOf("10.0.0.1", true), hostOf("10.0.0.2", true), hostOf("10.0.0.3", true)}
	member := func(n string) etcd.Member {
		return etcd.Member{ID: n, Name: "host-" + n, PeerURLs: []string{"https://10.0.0." + n + ":2380"}}
	}
	cluster := func(own string, change func(*etcd.Member), others ...string) etcd.Cluster {
		c := etcd.Cluster{Leader: true}
		for _, n := range others {
			m := member(n)
			if n == own {
				m.Answers, m.Size, m.Quota = true, 100<<20, 2<<30
				change(&m)
			}
			c.Members = append(c.Members, m)
		}
		return c
	}
	same := func(*etcd.Member) {}
	three := []string{"1", "2", "3"}
	healthy := []told{{ip: "10.0.0.1", of: cluster("1", same, three...)}, {ip: "10.0.0.2", of: cluster("2", same, three...)}, {ip: "10.0.0.3", of: cluster("3", same, three...)}}
	if got := etcdProblems(healthy, masters); len(got) != 0 {
		t.Errorf("of healthy members: %q", lines(got))
	}
	full := func(m *etcd.Member) { m.Size, m.Alarms = 1700<<20, []string{"NOSPACE"} }
	unlimited := func(m *etcd.Member) { m.Size, m.Quota = 8<<30, -1 }
	learner := cluster("1", full, "1", "2", "4")
	learner.Members[1].Learner = true
	sick := []told{{ip: "10.0.0.1", of: learner}, {ip: "10.0.0.2", err: &installer.HostError{Host: "10.0.0.2", Err: etcdSilent{}}}, {ip: "10.0.0.3", of: cluster("3", unlimited, three...)}}
	want := []string{
		"10.0.0.1 etcd problem: etcd's database is 1.7 GiB of the 2.0 GiB at which it refuses writes (83 %) | compact and defragment etcd, and find what fills it",
		"10.0.0.2 etcd problem: its member of etcd does not answer: it is silent | look at etcd there (crictl ps -a --name etcd, crictl logs)",
		"10.0.0.2 etcd problem: its member of etcd has no vote yet | wait until it has caught up, or run the bundle that the cluster was made with once more",
		" etcd problem: 10.0.0.4 is a member of etcd, and no master of the cluster | take it out with `sealinstall etcd remove --peer ADDRESS` on a master, or name the master that has it",
		"10.0.0.3 etcd problem: the master has no member of etcd | run the bundle that the cluster was made with once more",
		" etcd problem: etcd has raised the alarm NOSPACE | mend the cause (NOSPACE: compact and defragment), then disarm the alarm",
	}
	if diff := cmp.Diff(want, lines(etcdProblems(sick, masters))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

type etcdSilent struct{}

func (etcdSilent) Error() string { return "it is silent" }

func TestOneHostIsNotDrained(t *testing.T) {
	c := Compat{Site: &site.Site{Cluster: &installer.Cluster{Hosts: []installer.Host{hostOf("10.0.0.1", true)}}}}
	if got, err := c.drains(t.Context(), []kube.Node{{Name: "a"}}); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", lines(got), err)
	}
}

func TestWhatADrainMeetsIsNamedBefore(t *testing.T) {
	nodes := []kube.Node{{Name: "a", IP: "10.0.0.1"}, {Name: "b", IP: "10.0.0.2"}}
	pods := []kube.Resident{
		{Namespace: "x", Name: "web-1", Node: "a", Owner: "ReplicaSet/web", Local: []string{"emptyDir cache", "emptyDir tmp", "hostPath /var/log"}},
		{Namespace: "x", Name: "web-2", Node: "b", Owner: "ReplicaSet/web"},
		{Namespace: "x", Name: "alone", Node: "b", Local: []string{"emptyDir x"}},
	}
	budgets := []kube.Budget{
		{Namespace: "x", Name: "web", Healthy: 2, Needed: 2, Covered: 2, Pods: []kube.Seated{{Namespace: "x", Name: "web-1", Node: "a"}, {Namespace: "x", Name: "web-2", Node: "b"}}},
		{Namespace: "y", Name: "nobody"},
		{Namespace: "x", Name: "of-a-daemonset", Covered: 2, Pods: []kube.Seated{{Namespace: "x", Name: "agent-1", Node: "a"}}},
	}
	held := []kube.Seated{
		{Namespace: "x", Name: "stuck", Node: "a", Going: true, Finalizers: []string{"site/backup"}},
		{Namespace: "x", Name: "job", Node: "a", Finalizers: []string{jobFinalizer}},
		{Namespace: "x", Name: "kept", Node: "b", Finalizers: []string{jobFinalizer, "site/backup"}},
	}
	want := []string{
		" drain problem: PodDisruptionBudget x/web allows no disruption: 2 of its 2 pods are healthy and 2 must be, so these cannot leave their hosts: web-1 on a, web-2 on b" +
			" | mend the pods that are not healthy, run more of them, or loosen the budget until the upgrade is over; with --ignore-check drain each drain waits until its deadline",
		"10.0.0.2 drain problem: the host is drained, and nothing makes pod x/alone anew elsewhere | delete the pod, or give it a controller; --ignore-check drain lets it go",
		"10.0.0.1 drain problem: pod x/stuck is deleted and held by its finalizers site/backup: no drain of its host ends" +
			" | find out why what set them does not take them away, or take them away: kubectl edit pod",
		"10.0.0.2 drain warning: pod x/kept has the finalizers site/backup: a drain of its host waits for them | see that what set them runs: it has to take them away once the pod is deleted",
		"10.0.0.1 drain warning: pod x/web-1 loses what is in its emptyDir cache, tmp when the host is drained | nothing to do if it can be made anew",
	}
	if diff := cmp.Diff(want, lines(drainProblems(nodes, pods, budgets, held))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
