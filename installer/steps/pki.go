package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/registry"
)

// preparePKI opens the cluster's certificates on this machine.
func (r *Run) preparePKI() error {
	if r.pki != nil {
		return nil
	}
	docs, err := kubeadm.Render(r.kubeadmInput(kubeadm.Init, r.Master0()))
	if err != nil {
		return err
	}
	if r.CADir != "" {
		if err := certs.Import(r.State.Path("pki"), r.CADir); err != nil {
			return err
		}
	}
	s := docs.Settings()
	pki, err := certs.LoadOrCreate(r.State.Path("pki"), certs.Validity{Leaf: s.CertificateValidity, CA: s.CAValidity})
	if err != nil {
		return err
	}
	r.pki = pki
	return nil
}

// adoptedFiles are the files below /etc/kubernetes/pki of a master that this machine
// must have too, to work on a cluster that another machine has made.
func adoptedFiles() []string {
	return []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub", "registry-ca.crt", "registry-ca.key"}
}

// adoptState makes any machine with access to the masters able to go on: where
// a master is in the cluster, its authorities are those of the cluster. With
// none here they are taken over; others here mean that this state belongs to
// another cluster, and writing it over a live one would destroy it.
func (r *Run) adoptState(ctx context.Context) error {
	i := slices.IndexFunc(r.Masters(), func(t *fleet.Target) bool { return t.Looked && t.Joined() })
	if i < 0 {
		return nil
	}
	t := r.Masters()[i]
	remote := func(name string) string { return path.Join(installer.KubeDir, "pki", name) }
	paths := []string{r.masterPasswordFile()}
	for _, name := range adoptedFiles() {
		paths = append(paths, remote(name))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read the cluster's certificates on %s: %w", t.IP, err)
	}
	here, err := os.ReadFile(r.State.Path("pki", "ca.crt"))
	switch {
	case err == nil && !bytes.Equal(here, found[remote("ca.crt")]):
		return fmt.Errorf("%s belongs to a cluster with another certificate authority than the one in %s: use another --cluster name, or move that directory away", t.IP, r.State.Dir)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	r.Report.Infof("cluster %s was made from another machine; its certificates are taken over from %s", r.Cluster.Name, t.IP)
	if password := found[r.masterPasswordFile()]; len(password) > 0 {
		if err := r.State.Write(passwordFile, 0o600, password); err != nil {
			return err
		}
	}
	// The first file is the one whose presence is asked for above, so it comes last.
	for _, name := range slices.Backward(adoptedFiles()) {
		if content, ok := found[remote(name)]; ok {
			if err := r.State.Write(path.Join("pki", name), 0o600, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// masterFiles are the certificates and kubeconfigs of one master.
func (r *Run) masterFiles(ctx context.Context, t *fleet.Target) ([]agent.File, error) {
	in, err := r.masterInput(ctx, t)
	if err != nil {
		return nil, err
	}
	made, err := r.pki.MasterFiles(in)
	if err != nil {
		return nil, err
	}
	ca, caKey := r.pki.RegistryAuthority()
	files := []agent.File{
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.crt"), Mode: 0o644, Content: ca},
		{Path: path.Join(installer.KubeDir, "pki/registry-ca.key"), Mode: 0o600, Content: caKey},
	}
	files = append(files, r.passwordFiles(t)...)
	for _, f := range made {
		files = append(files, agent.File{Path: path.Join(installer.KubeDir, f.Path), Mode: f.Mode, Content: f.Content})
	}
	return files, nil
}

// masterInput is what the certificates of a master depend on, what it has of
// them included: another machine may have made those.
func (r *Run) masterInput(ctx context.Context, t *fleet.Target) (certs.MasterInput, error) {
	docs, err := kubeadm.Render(r.kubeadmInput(kubeadm.Init, t))
	if err != nil {
		return certs.MasterInput{}, err
	}
	s := docs.Settings()
	in := certs.MasterInput{
		Hostname: t.NodeName(), IP: t.IP,
		APISANs:  append(r.Cluster.MasterIPs(), append([]string{installer.APIServerDomain, r.Payload.VIP(r.Cluster)}, s.CertSANs...)...),
		EtcdSANs: append(append([]string{}, s.EtcdServerSANs...), s.EtcdPeerSANs...), ServiceSubnets: s.ServiceSubnets, DNSDomain: s.DNSDomain,
		Endpoint: s.ControlPlaneEndpoint, ClusterName: s.ClusterName,
		SuperAdmin: r.kubeMinor() >= 29, WithSuperAdmin: t.IP == r.Cluster.Hosts[0].IP,
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

// kubeMinor is the 36 of v1.36.3.
func (r *Run) kubeMinor() int {
	parts := strings.Split(strings.TrimPrefix(r.Payload.Rootfs().KubeVersion(), "v"), ".")
	if len(parts) < 2 {
		return 0
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0
	}
	return n
}

// htpasswd returns the account file of a registry host. bcrypt salts, so the file is
// kept: a new one would look like a change on every run.
func (r *Run) htpasswd(t *fleet.Target) ([]byte, error) {
	const name = "registry_htpasswd"
	old, err := os.ReadFile(r.State.Path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if registry.SameAccounts(old, r.accounts(t)...) {
		return old, nil
	}
	made, err := registry.Accounts(r.accounts(t)...)
	if err != nil {
		return nil, err
	}
	return made, r.State.Write(name, 0o600, made)
}

// registryFiles puts the registry's CA on every host, and certificate, key and
// accounts on the registry hosts, where the image's scripts expect them. It
// returns what the registry of each host has to show then.
func (r *Run) registryFiles(ctx context.Context, changes *atomic.Int64) (map[*fleet.Target]string, error) {
	account, err := r.htpasswd(r.Master0())
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	shown := map[*fleet.Target]string{}
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		files := []agent.File{{Path: r.registryEtc("registry_ca.crt"), Mode: 0o644, Content: r.pki.RegistryCA()}}
		if t.Master {
			own, input, err := r.registryHostFiles(ctx, t, account)
			if err != nil {
				return err
			}
			mu.Lock()
			shown[t] = input
			mu.Unlock()
			files = append(files, own...)
		}
		changed, err := t.Agent.WriteFiles(ctx, files)
		changes.Add(int64(len(changed)))
		if err != nil {
			return fmt.Errorf("write the registry's certificates: %w", err)
		}
		return nil
	})
	if err == nil {
		err = r.passwordIsInForce()
	}
	return shown, err
}

// registryEtc is where the scripts of images expect a file of the registry.
func (r *Run) registryEtc(name string) string { return path.Join(r.rootfsDir(), "etc", name) }

// registryHostFiles are the files of the registry on a host, and what stands for
// the part of them that the image's script has to put in place when it changes.
func (r *Run) registryHostFiles(ctx context.Context, t *fleet.Target, account []byte) (files []agent.File, shown string, err error) {
	certPath, keyPath, accountPath := r.registryEtc("registry_tls.crt"), r.registryEtc("registry_tls.key"), r.registryEtc("registry_htpasswd")
	has, err := t.Agent.ReadFiles(ctx, []string{certPath, keyPath, accountPath})
	if err != nil {
		return nil, "", err
	}
	accounts := r.accounts(t)
	if there := has[accountPath]; !bytes.Equal(there, account) && registry.SameAccounts(there, accounts...) {
		account = there // made by another machine, with another salt
	}
	cert, key, err := r.pki.Registry(t.IP.String(), has[certPath], has[keyPath], r.access().Domain, t.NodeName())
	if err != nil {
		return nil, "", err
	}
	// The passwords come first: what a registry asks for has to be known wherever the next run begins.
	files = append(r.passwordFiles(t), []agent.File{
		{Path: certPath, Mode: 0o644, Content: cert},
		{Path: keyPath, Mode: 0o600, Content: key},
		{Path: accountPath, Mode: 0o600, Content: account},
	}...)
	return files, r.shown(t, cert), nil
}
