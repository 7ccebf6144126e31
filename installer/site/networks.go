package site

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// checkNetworks judges addresses once the images have said what they bring of their own: the virtual address, and the
// networks of pods and Services. It is done before a host is contacted, by every command that reads the images.
func (st *Site) checkNetworks() error {
	vip, err := netip.ParseAddr(st.Payload.VIP(st.Cluster))
	if err != nil {
		return &installer.NetworkError{Err: fmt.Errorf("the virtual address %q of %s is not an IP address: choose one with -e defaultVIP=ADDRESS", st.Payload.VIP(st.Cluster), st.Payload.Rootfs().Name)}
	}
	if err := checkPort(st.Access().Port); err != nil {
		return err
	}
	n := st.AskedNetworks()
	n.VIP = vip.Unmap()
	return st.Cluster.CheckNetworks(n)
}

// AskedNetworks are those of pods and Services as far as they are known before a host has been seen.
func (st *Site) AskedNetworks() (n installer.Networks) {
	in := st.KubeadmInput(kubeadm.Init, st.Master0())
	in.Node.Hostname = cmp.Or(in.Node.Hostname, "not-asked-yet")
	// What is wrong with the documents themselves is told with all else that is wrong with them; templates are rendered
	// there too.
	n.Pods, n.Services, _ = kubeadm.Networks(in)
	return n
}

// checkPort refuses a port of the registry that is none.
func checkPort(text string) error {
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return &installer.NetworkError{Err: fmt.Errorf("registryPort %q is not a port: give one from 1 to 65535", text)}
	}
	return nil
}

// RegistryPort is the port that the registry will have; checkPort has found it to be one.
func (st *Site) RegistryPort() int {
	n, err := strconv.Atoi(st.Access().Port)
	if err != nil {
		return 0
	}
	return n
}

// ServedNetworks are the networks of Services whose addresses a host must have a route to: with ipvs, kube-proxy makes
// each of them the host's own.
func (st *Site) ServedNetworks() ([]netip.Prefix, error) {
	docs, err := kubeadm.Render(st.KubeadmInput(kubeadm.Init, st.Master0()))
	if err != nil || docs.Settings().KubeProxyMode == "ipvs" {
		return nil, err
	}
	return docs.Settings().ServiceSubnets, nil
}

// NetworksToAsk are those that hosts are asked about before their templates are rendered.
func (st *Site) NetworksToAsk() []string {
	var out []string
	for _, p := range st.AskedNetworks().Services {
		out = append(out, p.String())
	}
	return out
}
