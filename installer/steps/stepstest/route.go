package stepstest

import (
	"regexp"
	"slices"
)

const (
	routeUnit   = "/etc/systemd/system/sealos-service-route.service"
	routeWanted = "/etc/systemd/system/multi-user.target.wants/sealos-service-route.service"
)

// serviceRoute makes a route if the machine has none, and prints it. It prints nothing if the machine has its own.
func (c *call) serviceRoute(network string) (out string, err error) {
	return out, c.step("service route", func(_ *Site, m *Machine) error {
		switch {
		case !m.NoDefaultRoute:
		case slices.Contains(m.serviceRoutes, network):
			out = "there " + network + "\n"
		default:
			m.serviceRoutes = append(slices.Clone(m.serviceRoutes), network)
			out = "added " + network + "\n"
		}
		return nil
	})
}

// reachesServices tells whether a network plugin reaches the API: it connects to the address of a Service.
func (m *Machine) reachesServices() bool { return !m.NoDefaultRoute || len(m.serviceRoutes) > 0 }

var routeCommand = regexp.MustCompile(`(?m)^ExecStart=\S+ care --service-route (\S+)$`)

// boot does what the machine's units do when it starts. The site is locked.
func (m *Machine) boot() {
	m.serviceRoutes = nil
	if !m.tree.has(routeWanted) {
		return
	}
	for _, found := range routeCommand.FindAllStringSubmatch(m.tree.text(routeUnit), -1) {
		m.serviceRoutes = append(m.serviceRoutes, found[1])
	}
}
