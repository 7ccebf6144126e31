// Package site is the hosts of a run and the cluster that is wanted on them: what follows from both, how the hosts are
// opened, and whom to ask about the cluster. It brings the stub and the lock to hosts, and changes nothing else there.
package site

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/sealos"
	"github.com/sealbuild/sealbuild/registry"
)

// Site is the hosts of a run, and the cluster that is wanted on them. Its methods give what follows from both: the
// environment of scripts, the documents for kubeadm, the networks, the disk space, and whom to ask about the cluster.
type Site struct {
	*fleet.Fleet
	Cluster   *installer.Cluster // replaced when the record of the masters is compared with it
	Passwords Passwords          // of the registry, once they are settled
	Kube      *kube.Client
	Absence   Absence
	Upgrades  bool               // the run brings the hosts of the cluster to what the bundle brings
	Recorded  *installer.Cluster // as the masters have it, written by ledger; nil if none has one
	Known     []kube.Node        // the Nodes when the run began, written by health; nil if the cluster did not answer
}

// Passwords are the passwords of the registry's two accounts.
type Passwords struct{ Pull, Push string }

// New gives the site of a cluster and a bundle. It contacts no host.
func New(c *installer.Cluster, b *bundle.Reader, o fleet.Options) *Site {
	o.Cluster, o.Payload = c.Name, payload.New(b)
	st := &Site{Fleet: fleet.New(o, c.Hosts, c.Leaving), Cluster: c}
	st.Kube = &kube.Client{ControlPlanes: func() []kube.ControlPlane { return askable(st) }, AdminConf: installer.AdminConf, CacheDir: st.KubectlCache()}
	return st
}

// PlainRegistry tells whether the registry that the images bring for a host speaks plain HTTP.
func (st *Site) PlainRegistry(t *fleet.Target) bool { return sealos.PlainRegistry(st.Share(t)) }

// CareImage gives the name of the care image as the runtime of a host holds it. The error says that the bundle has none.
//
// It is our image, whatever the label `image` of the rootfs names. The lvscare of sealos does not work where the kernel has
// no ip_vs, keeps masters that are gone, and does not put back a route that somebody removed. It would also balance beside the
// unit that serves the address, by a list that nobody updates.
func (st *Site) CareImage(t *fleet.Target) (string, error) {
	for _, i := range payload.ContainerImages(st.Payload.Bundle) {
		if strings.HasPrefix(i.Name, "sealbuild.io/care:") {
			return sealos.HeldPrefix(st.Share(t)) + i.Name, nil
		}
	}
	return "", fmt.Errorf("the bundle has no sealbuild.io/care image: build it again with this sealbuild")
}

// Dir is a path below the directory of the cluster on its hosts.
func (st *Site) Dir(elem ...string) string {
	return installer.Dir(st.Cluster.Name, elem...)
}

// RootfsDir is the directory of rootfs and patches on hosts.
func (st *Site) RootfsDir() string {
	//docs:file hosts /var/lib/sealos/data/<cluster>/rootfs/: the rootfs and patches in use
	//docs:file hosts /var/lib/sealos/data/<cluster>/rootfs.next/: those that an upgrade brings, until it changes over
	//docs:file hosts /var/lib/sealos/data/<cluster>/rootfs.before/: those before the last upgrade
	return st.Dir("rootfs")
}

// UnusedConfigs is an error for Config documents that would change nothing.
func (st *Site) UnusedConfigs() error {
	files := map[string]map[string]payload.File{}
	for _, i := range st.Payload.Brought() {
		files[i.Name] = i.Files
	}
	for _, name := range st.KeptImages() {
		files[name] = nil // its Config documents were applied when it was installed
	}
	if !st.Payload.Adds() {
		return payload.UnusedConfigs(st.Cluster.Configs, files)
	}
	given := Adding{st}.newConfigs()
	for _, c := range given {
		if c.Match != "" && payload.SameImage(c.Match, st.Payload.Rootfs().Name) {
			//lint:ignore ST1005 that is how the kind of document is spelled
			return fmt.Errorf("Config %q changes %s, which this bundle does not bring: give it to a run of the bundle that does", c.Name, c.Match)
		}
	}
	return payload.UnusedConfigs(given, files)
}

// Accounts are the accounts of the registry on a host.
func (st *Site) Accounts(t *fleet.Target) []registry.Account {
	a := st.Access()
	if st.PlainRegistry(t) {
		return []registry.Account{{User: a.User, Password: a.Password}}
	}
	return []registry.Account{{User: a.User, Password: a.Password, PullOnly: true}, {User: a.PushUser, Password: a.PushPassword}}
}

// KeptImages are the cluster images that the cluster has and this run does not bring. An upgrade does not keep those whose place
// is taken by what it brings.
func (st *Site) KeptImages() []string {
	types := map[string]string{}
	for _, m := range st.Cluster.Status.Mounts {
		types[m.ImageName] = m.Type
	}
	return slices.DeleteFunc(slices.Clone(st.Cluster.Kept), func(name string) bool {
		if st.Upgrades && st.Payload.Replaces(name, types[name]) {
			return true
		}
		return slices.ContainsFunc(st.Payload.Brought(), func(i *payload.Image) bool { return i.Name == name })
	})
}

// VirtualServer gives the virtual address of the control planes, and the API servers behind it.
func (st *Site) VirtualServer() (netip.AddrPort, []netip.AddrPort, error) {
	ip, err := netip.ParseAddr(st.Payload.VIP(st.Cluster))
	if err != nil {
		return netip.AddrPort{}, nil, fmt.Errorf("virtual address %q: %w (set it with -e defaultVIP=ADDRESS)", st.Payload.VIP(st.Cluster), err)
	}
	var servers []netip.AddrPort
	for _, m := range st.Cluster.Masters() { // those left out of this run, too: care sends nothing to one that is dead
		servers = append(servers, netip.AddrPortFrom(m.IP, installer.APIServerPort))
	}
	return netip.AddrPortFrom(ip, installer.APIServerPort), servers, nil
}

// Access says how the registry of the cluster is reached, with the passwords as far as they are settled.
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

// RunRootfsScript runs a script of the rootfs or a patch on a host, in the rootfs there. i is the image that names it, line its
// shell text. When it has succeeded, the agent writes the files marks.
func (st *Site) RunRootfsScript(ctx context.Context, t *fleet.Target, step string, i *payload.Image, line string, marks ...agent.File) error {
	return st.RunScript(ctx, t, step, path.Join(st.RootfsDir(), "scripts"), line, st.Share(t).Env(i), marks...)
}
