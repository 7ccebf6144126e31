package site

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// checkNetworks judges the virtual address and the networks of pods and Services, once the images have said which they
// want. Every command that reads the images does so before it contacts a host.
func (st *Site) checkNetworks() error {
	vip, err := netip.ParseAddr(st.Payload.VIP(st.Cluster))
	if err != nil {
		return &installer.NetworkError{Err: fmt.Errorf("the virtual address %q of %s is not an IP address: choose one with -e defaultVIP=ADDRESS", st.Payload.VIP(st.Cluster), st.Payload.Rootfs().Name)}
	}
	if port, err := strconv.ParseUint(st.Access().Port, 10, 16); err != nil || port == 0 {
		return &installer.NetworkError{Err: fmt.Errorf("registryPort %q is not a port: give one from 1 to 65535", st.Access().Port)}
	}
	if st.Payload.Adds() {
		return nil // the cluster has its networks, and keeps them
	}
	n := st.askedNetworks()
	n.VIP = vip.Unmap()
	return st.Cluster.CheckNetworks(n)
}

// askedNetworks are the networks of pods and Services, as far as they are known before a host was looked at.
func (st *Site) askedNetworks() (n installer.Networks) {
	in := st.KubeadmInput(kubeadm.Init, st.Master0())
	in.Node.Hostname = cmp.Or(in.Node.Hostname, "not-asked-yet")
	// Templates are not rendered here. What is wrong with the documents is reported where they are rendered, with all else.
	n.Pods, n.Services, _ = kubeadm.Networks(in)
	return n
}

// RegistryPort is the port of the registry.
func (st *Site) RegistryPort() int {
	n, _ := strconv.Atoi(st.Access().Port) // checkNetworks has refused what is no number
	return n
}

// ServedNetworks are the networks of Services to whose addresses a host must have a route. There are none with ipvs, for
// which kube-proxy makes each address one of the host.
func (st *Site) ServedNetworks() ([]netip.Prefix, error) {
	docs, err := st.InitDocuments(st.Master0())
	if err != nil || docs.Settings().KubeProxyMode == "ipvs" {
		return nil, err
	}
	return docs.Settings().ServiceSubnets, nil
}

// NetworksToAsk are the networks of Services to which hosts are asked for a route, before their templates are rendered.
func (st *Site) NetworksToAsk() []string {
	if st.Payload.Adds() {
		return nil
	}
	var out []string
	for _, p := range st.askedNetworks().Services {
		out = append(out, p.String())
	}
	return out
}
