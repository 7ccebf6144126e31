package steps

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
func (r *Run) checkNetworks() error {
	vip, err := netip.ParseAddr(r.Payload.VIP(r.Cluster))
	if err != nil {
		return &installer.NetworkError{Err: fmt.Errorf("the virtual address %q of %s is not an IP address: choose one with -e defaultVIP=ADDRESS", r.Payload.VIP(r.Cluster), r.Payload.Rootfs().Name)}
	}
	if err := r.checkPort(); err != nil {
		return err
	}
	n := r.askedNetworks()
	n.VIP = vip.Unmap()
	return r.Cluster.CheckNetworks(n)
}

// askedNetworks are those of pods and Services as far as they are known before a host has been seen.
func (r *Run) askedNetworks() (n installer.Networks) {
	in := r.kubeadmInput(kubeadm.Init, r.Master0())
	in.Node.Hostname = cmp.Or(in.Node.Hostname, "not-asked-yet")
	// What is wrong with the documents themselves is told with all else that is wrong with them; templates are rendered
	// there too.
	n.Pods, n.Services, _ = kubeadm.Networks(in)
	return n
}

// checkPort refuses a port of the registry that is none.
func (r *Run) checkPort() error {
	text := r.access().Port
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return &installer.NetworkError{Err: fmt.Errorf("registryPort %q is not a port: give one from 1 to 65535", text)}
	}
	return nil
}

// registryPort is the port that the registry will have; checkPort has found it to be one.
func (r *Run) registryPort() int {
	n, err := strconv.Atoi(r.access().Port)
	if err != nil {
		return 0
	}
	return n
}
