// Package site is the hosts of a run and the cluster that is wanted on them: what
// follows from both, how the hosts are opened, and whom to ask about the cluster.
// It changes no host but by the installer and the lock that it brings.
package site

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/sealos"
	"github.com/sealbuild/sealbuild/registry"
)

// Site is the hosts of a run, and the cluster that is wanted on them. What follows from both stands here: the environment of
// scripts, the documents for kubeadm, the networks, the disk space, and whom to ask about the cluster. It changes no host.
type Site struct {
	*fleet.Fleet
	Cluster   *installer.Cluster // another one once the record of the hosts was compared with
	Passwords Passwords          // of the registry, once they are settled
	Kube      *kube.Client
	Known     []kube.Node // what the cluster said of its nodes while hosts were looked at; nil if it did not answer
}

// Passwords are those of the registry's two accounts.
type Passwords struct{ Pull, Push string }

// New takes in the hosts of a cluster. It touches none.
func New(c *installer.Cluster, b *bundle.Reader, o fleet.Options) *Site {
	o.Cluster, o.Payload = c.Name, payload.New(b)
	st := &Site{Fleet: fleet.New(o, c.Hosts), Cluster: c}
	st.Kube = &kube.Client{ControlPlanes: st.askable, AdminConf: installer.AdminConf, CacheDir: st.KubectlCache()}
	return st
}

// PlainRegistry tells that the registry that the images bring on a host speaks plain HTTP.
func (st *Site) PlainRegistry(t *fleet.Target) bool { return sealos.PlainRegistry(st.Share(t)) }

// HeldPrefix is what the container runtime of a host puts before the names of images.
func (st *Site) HeldPrefix(t *fleet.Target) string { return sealos.HeldPrefix(st.Share(t)) }

// CareImage finds the image of the care pod in the bundle, by the name that the
// runtime of a host holds. There it bears its full name, which no other image has.
//
// It is ours whatever image the label `image` of the rootfs names: lvscare does
// not serve where the kernel has no ip_vs, keeps masters that are gone, does not
// put a route back that somebody took away, and would find the address kept by
// the unit that served while the node joined, which takes its route along.
func (st *Site) CareImage(t *fleet.Target) (string, error) {
	for _, i := range st.Payload.Bundle.Images() {
		if i.Kind == bundle.KindImage && strings.HasPrefix(i.Name, "sealbuild.io/care:") {
			return st.HeldPrefix(t) + i.Name, nil
		}
	}
	return "", fmt.Errorf("the bundle has no sealbuild.io/care image: build it again with this sealbuild")
}

// Dir is a place of the cluster on its hosts.
func (st *Site) Dir(elem ...string) string {
	return installer.Dir(st.Cluster.Name, elem...)
}

// RootfsDir is where rootfs and patches lie on hosts.
func (st *Site) RootfsDir() string { return st.Dir("rootfs") }

// UnusedConfigs refuses Config documents that would change nothing.
func (st *Site) UnusedConfigs() error {
	files := map[string]map[string]payload.File{}
	for _, i := range st.Payload.Images {
		files[i.Name] = i.Files
	}
	for _, name := range st.KeptImages() {
		files[name] = nil // its documents were applied when it came
	}
	return payload.UnusedConfigs(st.Cluster.Configs, files)
}

// Accounts are those that the registry of a host knows.
func (st *Site) Accounts(t *fleet.Target) []registry.Account {
	a := st.Access()
	if st.PlainRegistry(t) {
		return []registry.Account{{User: a.User, Password: a.Password}}
	}
	return []registry.Account{{User: a.User, Password: a.Password, PullOnly: true}, {User: a.PushUser, Password: a.PushPassword}}
}

// KeptImages are the cluster's images that this run is not about.
func (st *Site) KeptImages() []string {
	return slices.DeleteFunc(slices.Clone(st.Cluster.Kept), func(name string) bool {
		return slices.ContainsFunc(st.Payload.Images, func(i *payload.Image) bool { return i.Name == name })
	})
}

// VirtualServer is the virtual address of the control planes, and the API servers behind it.
func (st *Site) VirtualServer() (netip.AddrPort, []netip.AddrPort, error) {
	ip, err := netip.ParseAddr(st.Payload.VIP(st.Cluster))
	if err != nil {
		return netip.AddrPort{}, nil, fmt.Errorf("virtual address %q: %w (set it with -e defaultVIP=ADDRESS)", st.Payload.VIP(st.Cluster), err)
	}
	var servers []netip.AddrPort
	for _, m := range st.Cluster.Masters() { // one that is left out of this run is drained by the keeper while it is dead
		servers = append(servers, netip.AddrPortFrom(m.IP, installer.APIServerPort))
	}
	return netip.AddrPortFrom(ip, installer.APIServerPort), servers, nil
}

// Access is how the registry of the cluster is reached, as far as its passwords are settled.
func (st *Site) Access() payload.Access {
	a := st.Payload.Access(st.Cluster)
	a.Password, a.PushPassword = st.Passwords.Pull, st.Passwords.Push
	return a
}

// Share is what a host has of the payload, as far as that is known now.
func (st *Site) Share(t *fleet.Target) payload.Share {
	return payload.Share{
		Payload: st.Payload, Cluster: st.Cluster, Host: t.Host, Variant: t.Variant, Access: st.Access(), Overlays: t.Overlays,
		First: func() bool { return t == st.Master0() },
	}
}

// RegistryHosts are the hosts that serve the registry: every master.
func (st *Site) RegistryHosts() []*fleet.Target { return st.Masters() }
