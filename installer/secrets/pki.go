// Package secrets settles the authorities, the certificates and the passwords of a
// cluster: what this machine has of them, and what its masters have.
package secrets

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Secrets are the authorities and the passwords of a cluster, on this machine and on its masters.
type Secrets struct {
	*site.Site
	State *installer.State
	CADir string // authorities to take over, in the layout of /etc/kubernetes/pki; empty = made here

	PKI *certs.PKI
}

// PreparePKI opens the cluster's certificates on this machine.
func (s *Secrets) PreparePKI() error {
	if s.PKI != nil {
		return nil
	}
	docs, err := s.InitDocuments(s.Master0())
	if err != nil {
		return err
	}
	if s.CADir != "" {
		if err := certs.Import(s.State.Path("pki"), s.CADir); err != nil {
			return err
		}
	}
	settings := docs.Settings()
	pki, err := certs.LoadOrCreate(s.State.Path("pki"), certs.Validity{Leaf: settings.CertificateValidity, CA: settings.CAValidity})
	if err != nil {
		return err
	}
	s.PKI = pki
	return nil
}

// AdoptedFiles are the files below /etc/kubernetes/pki of a master that this machine
// must have too, to work on a cluster that another machine has made.
func AdoptedFiles() []string {
	return []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub", "registry-ca.crt", "registry-ca.key"}
}

// Adopt makes any machine with access to the masters able to go on: where
// a master is in the cluster, its authorities are those of the cluster. With
// none here they are taken over; others here mean that this state belongs to
// another cluster, and writing it over a live one would destroy it.
func (s *Secrets) Adopt(ctx context.Context) error {
	i := slices.IndexFunc(s.Masters(), func(t *fleet.Target) bool { return t.InCluster() })
	if i < 0 {
		return nil
	}
	t := s.Masters()[i]
	remote := func(name string) string { return path.Join(installer.KubeDir, "pki", name) }
	paths := []string{s.masterPasswordFile()}
	for _, name := range AdoptedFiles() {
		paths = append(paths, remote(name))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read the cluster's certificates on %s: %w", t.IP, err)
	}
	here, err := os.ReadFile(s.State.Path("pki", "ca.crt"))
	switch {
	case err == nil && !bytes.Equal(here, found[remote("ca.crt")]):
		return fmt.Errorf("%s belongs to a cluster with another certificate authority than the one in %s: use another --cluster name, or move that directory away", t.IP, s.State.Dir)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	s.Report.Infof("cluster %s was made from another machine; its certificates are taken over from %s", s.Cluster.Name, t.IP)
	if password := found[s.masterPasswordFile()]; len(password) > 0 {
		if err := s.State.Write(PasswordFile, 0o600, password); err != nil {
			return err
		}
	}
	// The first file is the one whose presence is asked for above, so it comes last.
	for _, name := range slices.Backward(AdoptedFiles()) {
		if content, ok := found[remote(name)]; ok {
			if err := s.State.Write(path.Join("pki", name), 0o600, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// MasterFiles are the certificates and kubeconfigs of one master.
func (s *Secrets) MasterFiles(ctx context.Context, t *fleet.Target) ([]agent.File, error) {
	in, err := s.MasterInput(ctx, t)
	if err != nil {
		return nil, err
	}
	made, err := s.PKI.MasterFiles(in)
	if err != nil {
		return nil, err
	}
	ca, caKey := s.PKI.RegistryAuthority()
	files := []agent.File{
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.crt"), Mode: 0o644, Content: ca},
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.key"), Mode: 0o600, Content: caKey},
	}
	files = append(files, s.PasswordFiles(t)...)
	for _, f := range made {
		files = append(files, agent.File{Path: path.Join(installer.KubeDir, f.Path), Mode: f.Mode, Content: f.Content})
	}
	return files, nil
}

// MasterInput is what the certificates of a master depend on, what it has of
// them included: another machine may have made those.
func (s *Secrets) MasterInput(ctx context.Context, t *fleet.Target) (certs.MasterInput, error) {
	docs, err := s.InitDocuments(t)
	if err != nil {
		return certs.MasterInput{}, err
	}
	settings := docs.Settings()
	in := certs.MasterInput{
		Hostname: t.NodeName(), IP: t.IP,
		APISANs:        append(s.Cluster.MasterIPs(), append([]string{installer.APIServerDomain, s.Payload.VIP(s.Cluster)}, settings.CertSANs...)...),
		EtcdSANs:       append(append([]string{}, settings.EtcdServerSANs...), settings.EtcdPeerSANs...),
		ServiceSubnets: settings.ServiceSubnets, DNSDomain: settings.DNSDomain,
		Endpoint: settings.ControlPlaneEndpoint, ClusterName: settings.ClusterName,
		SuperAdmin: preflight.MinorOf(s.Payload.Rootfs().KubeVersion()) >= 29, WithSuperAdmin: t.IP == s.Cluster.Hosts[0].IP,
	}
	if !t.Joined() {
		return in, nil
	}
	var paths []string
	for _, p := range in.Paths() {
		paths = append(paths, path.Join(installer.KubeDir, p))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return in, fmt.Errorf("read the certificates that it has: %w", err)
	}
	in.Has = map[string][]byte{}
	for p, content := range found {
		in.Has[strings.TrimPrefix(p, installer.KubeDir+"/")] = content
	}
	return in, nil
}

// CertificatesOn reads the certificates of a master, sorted by their paths.
func (s *Secrets) CertificatesOn(ctx context.Context, t *fleet.Target) ([]certs.Info, error) {
	// Whatever the names in them are to be, the files are these.
	in := certs.MasterInput{SuperAdmin: true, WithSuperAdmin: true}
	var paths []string
	for _, p := range append(in.Paths(), "pki/ca.crt", "pki/front-proxy-ca.crt", "pki/etcd/ca.crt", "pki/registry-ca.crt") {
		if !strings.HasSuffix(p, ".key") {
			paths = append(paths, path.Join(installer.KubeDir, p))
		}
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return nil, err
	}
	var out []certs.Info
	for p, content := range found {
		if info, ok := certs.Describe(strings.TrimPrefix(p, installer.KubeDir+"/"), content); ok {
			out = append(out, info)
		}
	}
	shown, err := s.registryCertOn(ctx, t)
	if err != nil {
		return nil, err
	}
	out = append(out, shown...)
	slices.SortFunc(out, func(a, b certs.Info) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// registryCertOn reads the certificate that the registry of a master shows: the
// one that the image's script has put in place.
func (s *Secrets) registryCertOn(ctx context.Context, t *fleet.Target) ([]certs.Info, error) {
	if s.PlainRegistry(t) {
		return nil, nil
	}
	env := installer.MergeEnv(s.Share(t).All()[0].Env, s.Cluster.Env, t.Host.Env)
	place := path.Join(cmp.Or(env["registryConfig"], "/etc/registry"), "tls.crt")
	found, err := t.Agent.ReadFiles(ctx, []string{place})
	if err != nil {
		return nil, fmt.Errorf("read the registry's certificate: %w", err)
	}
	if info, ok := certs.Describe(place, found[place]); ok {
		return []certs.Info{info}, nil
	}
	return nil, nil
}
