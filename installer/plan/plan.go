// Package plan tells what a run would do, as far as that is known without asking a host.
package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Plan is what a run would do, as far as that is known without asking a host. The run may do less: what is on the hosts
// already is not sent again.
type Plan struct {
	Cluster    string    `json:"cluster"`
	Kubernetes string    `json:"kubernetes"`
	VIP        string    `json:"vip"`
	Bundle     string    `json:"bundle"` // digest of its index
	Images     []Image   `json:"images"`
	Containers int       `json:"containerImages"`
	Hosts      []Host    `json:"hosts"`
	Bytes      int64     `json:"bytesToMove"` // to all hosts, at most
	Kubeadm    []Kubeadm `json:"kubeadm"`
	Warnings   []string  `json:"warnings,omitempty"`
}

// Image is a cluster image, in the order of use.
type Image struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // bytes of its layers as they travel
	Dir    string `json:"dir"`
}

// Host is a host and what is sent there.
type Host struct {
	Address  string `json:"address"`
	Role     string `json:"role"` // master or node
	User     string `json:"user"`
	Port     int    `json:"port"`
	Registry bool   `json:"registry"` // it serves the images
	Bytes    int64  `json:"bytesToMove"`
	// Disk space needed in bytes, by directory: in any case, and if all pods run on this host.
	DiskLeast map[string]int64  `json:"diskLeast"`
	DiskMost  map[string]int64  `json:"diskMost"`
	Env       map[string]string `json:"env,omitempty"` // the host's own
}

// Kubeadm is the documents for the hosts of one kind.
type Kubeadm struct {
	Kind      string `json:"kind"` // init, join-master or join-node
	Host      string `json:"host"` // the first of its kind
	Documents string `json:"documents"`
}

// Of computes what a run on a site would do. It contacts no host and writes nothing, but renders templates and documents,
// so that what would fail there fails here. recorded gives an error for a cluster that is recorded to run something else.
func Of(ctx context.Context, on *site.Site, recorded func() error) (Plan, error) {
	on.Payload.OntoCluster = true
	if err := prepare(ctx, on); err != nil {
		return Plan{}, err
	}
	if err := (site.Adding{Site: on}).Clusterless(); err != nil {
		return Plan{}, err
	}
	if err := recorded(); err != nil {
		return Plan{}, err
	}
	s, err := on.Payload.Measure(ctx)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		Cluster: on.Cluster.Name, Kubernetes: on.Payload.Rootfs().KubeVersion(), VIP: on.Payload.VIP(on.Cluster),
		Bundle:   on.Payload.Bundle.IndexDigest().String(),
		Warnings: on.Cluster.Warnings(), Containers: len(payload.ContainerImages(on.Payload.Bundle)),
	}
	for _, i := range on.Payload.Brought() {
		p.Images = append(p.Images, Image{i.Name, i.Type, i.Digest.String(), layerBytes(i), i.Dir})
	}
	for _, t := range on.Targets {
		n := on.NeedOf(t, s)
		h := Host{
			Address: t.IP.String(), Role: t.Role(), User: t.SSH.User, Port: t.SSH.Port, Registry: t.Master,
			Bytes: s.Stub, DiskLeast: n.Least, DiskMost: n.Most, Env: on.Cluster.PublicEnv(t.Env),
		}
		for _, i := range on.Share(t).Here() {
			h.Bytes += layerBytes(i)
		}
		if h.Registry {
			h.Bytes += s.Registry
		}
		p.Bytes += h.Bytes
		p.Hosts = append(p.Hosts, h)
	}
	p.Kubeadm, err = Documents(on)
	return p, errors.Join(err, renderAll(on))
}

// prepare reads the images, and makes up what only hosts can tell or an installation makes.
func prepare(ctx context.Context, on *site.Site) error {
	if err := on.Read(ctx); err != nil {
		return err
	}
	on.Passwords.Pull = "(made while installing)"
	for _, t := range on.Targets {
		t.Facts.Hostname = "hostname-of-" + t.IP.String()
		t.Facts.Modules = map[string]bool{"ip_vs": true}
	}
	return nil
}

// Documents renders the documents for kubeadm, for the first host of each kind.
func Documents(on *site.Site) ([]Kubeadm, error) {
	if on.Payload.Adds() {
		return nil, nil // kubeadm does nothing
	}
	var out []Kubeadm
	for _, k := range []struct {
		kind  kubeadm.Kind
		hosts []*fleet.Target
	}{{kubeadm.Init, on.Masters()[:1]}, {kubeadm.JoinMaster, on.OtherMasters()}, {kubeadm.JoinNode, on.Workers()}} {
		if len(k.hosts) == 0 {
			continue
		}
		text, err := site.KubeadmYAML(on.KubeadmInput(k.kind, k.hosts[0]))
		if err != nil {
			return nil, err
		}
		out = append(out, Kubeadm{string(k.kind), k.hosts[0].IP.String(), string(text)})
	}
	return out, nil
}

// renderAll renders all templates, for the errors alone.
func renderAll(on *site.Site) error {
	errs := []error{on.UnusedConfigs()}
	for _, t := range unlike(on) {
		for _, i := range on.Share(t).Here() {
			if _, err := i.Overlay(on.Cluster.Configs, on.Share(t).Env(i)); err != nil {
				errs = append(errs, t.Failed(err))
			}
		}
	}
	return errors.Join(errs...)
}

// unlike gives one host of each kind. The templates of hosts of one role with the same settings differ in addresses only,
// and to render them for each of thousands of hosts, with the addresses of all, would take too long.
func unlike(on *site.Site) []*fleet.Target {
	var out []*fleet.Target
	seen := map[string]bool{}
	for _, t := range on.Targets {
		kind := journal.Inputs(t == on.Targets[0], t.Master, t.Env)
		if !seen[kind] {
			seen[kind] = true
			out = append(out, t)
		}
	}
	return out
}

// Example is a complete Clusterfile of the cluster: what the flags say, and every setting that could be changed. It
// contacts no host and writes nothing.
func Example(ctx context.Context, on *site.Site) ([]byte, error) {
	if err := prepare(ctx, on); err != nil {
		return nil, err
	}
	docs, err := kubeadm.Shared(on.KubeadmInput(kubeadm.Init, on.Master0()))
	if err != nil {
		return nil, err
	}
	c := *on.Cluster
	c.Images, c.Kubeadm, c.Created = nil, [][]byte{docs}, on.Cluster.Created
	env := map[string]string{}
	for _, i := range on.Payload.Images {
		c.Images = append(c.Images, i.Name)
		maps.Copy(env, i.Env)
	}
	text, err := c.Clusterfile(c.Created, installer.Status{})
	if err != nil {
		return nil, err
	}
	out := []byte("# What a run of sealinstall with the same flags would do; to be changed, and given to: sealinstall apply -f FILE\n" +
		"# Passwords are not written here: give them with the environment variable, a file or the prompt.\n")
	if env = on.Cluster.PublicEnv(env); len(env) > 0 {
		out = append(out, "#\n# Settings of the images, which spec.env and the env of hosts change:\n"...)
		for _, k := range slices.Sorted(maps.Keys(env)) {
			out = fmt.Appendf(out, "#   - %s\n", oneLine(k+"="+env[k]))
		}
	}
	return append(out, text...), nil
}

// oneLine replaces the control characters of a text, so that it stays in one line.
func oneLine(s string) string {
	out := []rune(s)
	for i, c := range out {
		if c < ' ' {
			out[i] = ' '
		}
	}
	return string(out)
}

// layerBytes is the size of an image's layers as they are sent, in bytes.
func layerBytes(i *payload.Image) int64 {
	var n int64
	for _, l := range i.Layers {
		n += l.Size
	}
	return n
}
