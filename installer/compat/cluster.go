package compat

import (
	"context"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// see asks the cluster for its Nodes, and judges them and the hosts. There are none if the cluster does not answer.
func (c Compat) see(ctx context.Context) ([]kube.Node, []preflight.Problem) {
	var nodes []kube.Node
	err := installer.Insist(ctx, c.APIPatience(), func(ctx context.Context) (err error) {
		nodes, err = c.Kube.Nodes(ctx)
		return err
	})
	if err != nil {
		return nil, []preflight.Problem{{Check: "cluster", Message: "the cluster does not answer: " + installer.Tell(err), Remedy: "`sealinstall status` tells what is down"}}
	}
	return nodes, hostProblems(c.Site, nodes)
}

// hostProblems are recorded hosts that do not answer, and Nodes that are not Ready. kubeadm refuses a control plane of which a Node
// is not Ready, and leaves CoreDNS and kube-proxy as they are while there is a Pod of an API server with the version of before.
func hostProblems(st *site.Site, nodes []kube.Node) []preflight.Problem {
	var out []preflight.Problem
	add := func(ip, check, remedy, format string, args ...any) {
		out = append(out, preflight.Problem{Host: ip, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	var hosts []kube.Host
	for _, h := range st.Cluster.Hosts {
		i := slices.IndexFunc(st.Targets, func(t *fleet.Target) bool { return t.IP == h.IP && t.Looked })
		of := kube.Host{IP: h.IP, Master: h.Master}
		if i >= 0 {
			of = site.KubeHost(st.Targets[i])
		}
		hosts = append(hosts, of)
		node, there := kube.NodeOf(nodes, of)
		switch {
		case i < 0 && h.Master:
			add(h.IP.String(), "connect", "give it its power or network back; if it never comes back: sealinstall delete --dead --masters "+h.IP.String(),
				"the master does not answer, and an upgrade takes every host: add-ons stay as they are while a master is known that was not upgraded")
		case i < 0:
			add(h.IP.String(), "connect", "give it its power or network back; if it never comes back: sealinstall delete --dead --nodes "+h.IP.String(),
				"the node does not answer, and an upgrade takes every host")
		case !there && st.Targets[i].Joined():
			add(h.IP.String(), "cluster", "run the bundle that the cluster was made with once more: it brings the Node back", "the host has joined, and somebody has deleted its Node")
		case there && node.Ready != "True":
			add(h.IP.String(), "cluster", "mend what it names; `sealinstall status` tells more", "node %s is not Ready: %s", node.Name, node.Message)
		}
	}
	for _, n := range kube.Strangers(nodes, hosts) {
		if n.Ready != "True" {
			add("", "cluster", "bring the host back; if it is gone for good: kubectl delete node "+n.Name, "node %s is not Ready, and is none of the recorded hosts: %s", n.Title(), n.Message)
		}
	}
	return out
}

// How far apart versions may be, in minor versions, by Kubernetes' policy: an API server is upgraded over no minor version, and a
// kubelet may be so many behind its API server.
const (
	serverStep  = 1
	kubeletSkew = 3
)

// versions judges what runs by what is to run.
func (c Compat) versions(ctx context.Context, nodes []kube.Node, from string, to *semver.Version) ([]preflight.Problem, error) {
	servers, err := c.Kube.Images(ctx, "--namespace", "kube-system", "--selector", "component=kube-apiserver")
	if err != nil {
		return nil, err
	}
	return versionProblems(nodes, servers, from, to), nil
}

func versionProblems(nodes []kube.Node, servers []kube.Runs, from string, to *semver.Version) []preflight.Problem {
	var out []preflight.Problem
	add := func(ip, remedy, format string, args ...any) {
		out = append(out, preflight.Problem{Host: ip, Check: "version", Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	judge := func(ip, what, version string, behind uint64) {
		now, err := semver.NewVersion(version)
		switch {
		case err != nil:
			out = append(out, preflight.Problem{
				Host: ip, Check: "version", Message: fmt.Sprintf("%s tells no version (%q): how far it is from v%s is not known", what, version, to),
				Remedy: "look yourself: an upgrade goes over no minor version", Warning: true,
			})
		case now.GreaterThan(to) || now.Major() != to.Major():
			add(ip, "use a bundle that brings what runs, or newer; back to the version before goes `sealinstall rollback`",
				"%s is %s, and the bundle brings v%s: an upgrade does not go back (the record says %s)", what, version, to, from)
		case to.Minor()-now.Minor() > behind && behind == serverStep:
			add(ip, fmt.Sprintf("upgrade one minor version at a time: a bundle of v%d.%d comes first", now.Major(), now.Minor()+1),
				"%s is %s, and v%s would skip a minor version", what, version, to)
		case to.Minor()-now.Minor() > behind:
			add(ip, fmt.Sprintf("take the host out and in again (sealinstall delete, then add, with the bundle of %s), then upgrade", from),
				"%s is %s, more than %s behind v%s: it could not talk to the new API servers", what, version, count.Of(behind, "minor version"), to)
		}
	}
	for _, r := range servers {
		judge(addressOf(nodes, r.Node), "the API server", r.Tag(), serverStep)
	}
	for _, n := range nodes {
		if n.Version != "" { // one whose kubelet was never heard of is not Ready
			judge(n.IP, "kubelet", n.Version, kubeletSkew)
		}
	}
	return out
}

// addressOf gives the address of a node, or its name where that is not known.
func addressOf(nodes []kube.Node, name string) string {
	for _, n := range nodes {
		if n.Name == name && n.IP != "" {
			return n.IP
		}
	}
	return name
}
