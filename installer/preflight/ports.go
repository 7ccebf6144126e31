package preflight

import (
	"fmt"
	"slices"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
)

// portProblems finds ports that a cluster needs and another program has. On a host where this cluster was begun, its own
// programs may have them.
func portProblems(v Host, add adder) {
	for _, p := range Ports(v.Master, v.RegistryPort) {
		if !slices.Contains(v.Facts.PortsInUse, p) {
			continue
		}
		i := slices.IndexFunc(v.Facts.Listeners, func(l agent.Listener) bool { return l.Port == p })
		owner := agent.Listener{Port: p}
		if i >= 0 {
			owner = v.Facts.Listeners[i]
		}
		if v.Begun && (owner.Process == "" || isOurs(owner, p == v.RegistryPort)) {
			continue
		}
		remedy := fmt.Sprintf("find its owner with `ss -ltnp 'sport = :%d'` and stop it", p)
		if owner.Process != "" {
			remedy = "stop it"
		}
		if p == v.RegistryPort {
			remedy += ", or choose another with -e registryPort=PORT"
		}
		add(false, "port", remedy, "port %d is taken%s", p, by(owner))
	}
}

func by(l agent.Listener) string {
	switch {
	case l.Process == "":
		return ""
	case l.Unit == "":
		return " by " + l.Process
	}
	return fmt.Sprintf(" by %s (%s)", l.Process, l.Unit)
}

// isOurs tells whether a listener belongs to a cluster: it is a pod, or a unit that images install. Without a unit its name
// decides.
func isOurs(l agent.Listener, registry bool) bool {
	switch {
	case registry:
		return l.Unit == "registry.service" || l.Unit == "" && (l.Process == "registry" || l.Process == "sealinstall")
	case l.Unit != "":
		return slices.Contains([]string{"kubepods", "kubelet.service", "containerd.service", care.Unit + ".service"}, l.Unit)
	}
	return slices.Contains([]string{
		"kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy", "kubelet", "etcd", "sealinstall", "care",
	}, l.Process)
}
