// Package secrets settles the authorities, the certificates and the passwords of a cluster, from what this machine has of
// them and what the masters have.
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
	CADir string // authorities to take over, in the layout of /etc/kubernetes/pki; empty: they are made here

	PKI *certs.PKI // nil before PreparePKI
}

// PreparePKI opens the cluster's authorities on this machine, and makes those that are missing.
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
	s.PKI, err = certs.LoadOrCreate(s.State.Path("pki"), certs.Validity{Leaf: settings.CertificateValidity, CA: settings.CAValidity})
	return err
}

// AdoptedFiles are the files below /etc/kubernetes/pki of a master that this machine needs to work on a cluster that
// another machine has made.
func AdoptedFiles() []string {
	return []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub", "registry-ca.crt", "registry-ca.key"}
}

// adopt takes the authorities over from a master that is in the cluster, if this machine has none: so any machine that
// reaches the masters can go on. It is an error if this machine has others: its state then belongs to another cluster, and
// writing that over a cluster that runs would destroy it.
func (s *Secrets) adopt(ctx context.Context) error {
	joined := s.ControlPlanes()
	if len(joined) == 0 {
		return nil
	}
	t := joined[0]
	remote := func(name string) string { return path.Join(installer.KubeDir, "pki", name) }
	paths := []string{s.masterPasswordFile()}
	for _, name := range AdoptedFiles() {
		paths = append(paths, remote(name))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read the cluster's certificates on %s: %w", t.IP, err)
	}
	here, err := os.ReadFile(s.State.Path("pki", "ca.crt")) //docs:file here ~/.sealos/<cluster>/pki/: the authorities and keys of the cluster (0700)
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
		if err := s.State.Write(passwordFile, 0o600, password); err != nil {
			return err
		}
	}
	// ca.crt comes last: where it is there, the next run takes all of them for adopted.
	for _, name := range slices.Backward(AdoptedFiles()) {
		if content, ok := found[remote(name)]; ok {
			if err := s.State.Write(path.Join("pki", name), 0o600, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// MasterFiles are the certificates, kubeconfigs and passwords of a master. [Secrets.PreparePKI] comes first.
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
		//docs:file masters /etc/kubernetes/pki/: certificates and keys of the control plane, and the authorities; those of the registry, too
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.crt"), Mode: 0o644, Content: ca},
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.key"), Mode: 0o600, Content: caKey},
	}
	return slices.Concat(files, s.PasswordFiles(t), OnMaster(made)), nil
}

// OnMaster gives certificates and kubeconfigs as files of a master.
func OnMaster(made []certs.File) []agent.File {
	var files []agent.File
	for _, f := range made {
		files = append(files, agent.File{Path: path.Join(installer.KubeDir, f.Path), Mode: f.Mode, Content: f.Content})
	}
	return files
}

// MasterInput is what the certificates of a master depend on, with those that it has: another machine may have made them.
func (s *Secrets) MasterInput(ctx context.Context, t *fleet.Target) (certs.MasterInput, error) {
	docs, err := s.InitDocuments(t)
	if err != nil {
		return certs.MasterInput{}, err
	}
	settings := docs.Settings()
	sans := append(s.Cluster.MasterIPs(), append([]string{installer.APIServerDomain, s.Payload.VIP(s.Cluster)}, settings.CertSANs...)...)
	// A master that was left out when another one was taken out still has its name. What is wanted, too, stays.
	without := slices.DeleteFunc(slices.Concat(addresses(s.Cluster.Leaving), s.Cluster.TakenOut()), func(ip string) bool { return slices.Contains(sans, ip) })
	in := certs.MasterInput{
		Hostname: t.NodeName(), IP: t.IP,
		APISANs:        sans,
		Without:        without,
		EtcdSANs:       append(append([]string{}, settings.EtcdServerSANs...), settings.EtcdPeerSANs...),
		ServiceSubnets: settings.ServiceSubnets, DNSDomain: settings.DNSDomain,
		Endpoint: settings.ControlPlaneEndpoint, ClusterName: settings.ClusterName,
		SuperAdmin: preflight.MinorOf(s.Payload.Rootfs().KubeVersion()) >= 29, WithSuperAdmin: t.IP == s.Cluster.Hosts[0].IP,
	}
	if !t.Joined() {
		return in, nil
	}
	if in.Has, err = readKubeFiles(ctx, t, in.Paths()); err != nil {
		return in, fmt.Errorf("read the certificates that it has: %w", err)
	}
	return in, nil
}

func addresses(hosts []installer.Host) (out []string) {
	for _, h := range hosts {
		out = append(out, h.IP.String())
	}
	return out
}

// readKubeFiles reads files below /etc/kubernetes of a host, and gives those that exist by their names below that.
func readKubeFiles(ctx context.Context, t *fleet.Target, names []string) (map[string][]byte, error) {
	var paths []string
	for _, name := range names {
		paths = append(paths, path.Join(installer.KubeDir, name))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	files := map[string][]byte{}
	for p, content := range found {
		files[strings.TrimPrefix(p, installer.KubeDir+"/")] = content
	}
	return files, err
}

// CertificatesOn reads the certificates of a master, sorted by path.
func (s *Secrets) CertificatesOn(ctx context.Context, t *fleet.Target) ([]certs.Info, error) {
	names := append(certs.MasterInput{SuperAdmin: true, WithSuperAdmin: true}.Paths(), "pki/ca.crt", "pki/front-proxy-ca.crt", "pki/etcd/ca.crt", "pki/registry-ca.crt")
	found, err := readKubeFiles(ctx, t, slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".key") }))
	if err != nil {
		return nil, err
	}
	var out []certs.Info
	for name, content := range found {
		if info, ok := certs.Describe(name, content); ok {
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

// registryCertOn reads the certificate that the registry of a master shows, where the image's script has put it. It gives
// at most one.
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
