package hostnet

import (
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// DirectTargets are the addresses and names that containerd and kubelet of a host connect to.
func (n Net) DirectTargets() []string {
	return append(n.Cluster.MasterIPs(), n.Access().Domain, installer.APIServerDomain)
}

// ServiceTargets are the other addresses and networks of the cluster that a host may connect to.
func (n Net) ServiceTargets(kube preflight.Settings) []string {
	out := []string{n.Payload.VIP(n.Cluster)}
	for _, p := range kube.Services {
		out = append(out, p.String())
	}
	return out
}

// Shielded tells whether the units of the images unset the proxies that systemd gives to services.
func (n Net) Shielded(t *fleet.Target) bool {
	for _, unit := range []string{"containerd.service", "kubelet.service"} {
		text, ok := n.Share(t).SystemFile(path.Join("etc", unit))
		if !ok || !slices.ContainsFunc(strings.Split(string(text), "\n"), func(l string) bool {
			value, is := strings.CutPrefix(strings.TrimSpace(l), "UnsetEnvironment=")
			names := strings.Fields(value)
			return is && slices.Contains(names, "HTTPS_PROXY") && slices.Contains(names, "https_proxy")
		}) {
			return false
		}
	}
	return true
}
