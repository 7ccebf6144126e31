package certs

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// File is a file of a master; Path is relative to /etc/kubernetes.
type File struct {
	Path    string
	Mode    fs.FileMode
	Content []byte
}

// MasterInput is what the certificates of one master depend on.
type MasterInput struct {
	Hostname       string
	IP             netip.Addr
	APISANs        []string // further names and addresses of the API server
	Without        []string // addresses that the API server's certificate must not have any more
	EtcdSANs       []string // further names and addresses of etcd's server and peer
	ServiceSubnets []netip.Prefix
	DNSDomain      string // cluster.local
	Endpoint       string // HOST:PORT in kubeconfigs
	ClusterName    string // in kubeconfigs
	SuperAdmin     bool   // Kubernetes 1.29 and later: admin.conf is an ordinary administrator, super-admin.conf beyond RBAC
	WithSuperAdmin bool   // write super-admin.conf: on the first master only, as kubeadm does

	// Has are the files that the master has now, by the paths of File. Those that fit stay.
	Has map[string][]byte
	// Renew names the certificates that are made anew in any case: "apiserver", "admin.conf".
	Renew []string
}

var (
	serverAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	clientAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	bothAuth   = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
)

// Names lists the certificates of a master as Renew names them, without authorities.
func (in MasterInput) Names() []string {
	var out []string
	for _, l := range in.leaves() {
		out = append(out, l.name)
	}
	for _, k := range in.kubeconfigs() {
		out = append(out, k.name+".conf")
	}
	return out
}

// Unfit lists the certificates of a master, as Names does, that [PKI.MasterFiles] replaces there: those that Renew names, and those
// that the master lacks or that do not fit. It makes none.
func (p *PKI) Unfit(in MasterInput) (out []string) {
	for _, l := range in.leaves() {
		if has := in.has(l.name); slices.Contains(in.Renew, l.name) || has == nil || !has.fits(p.authorities[l.authority], l.profile) {
			out = append(out, l.name)
		}
	}
	for _, k := range in.kubeconfigs() {
		name, has := k.name+".conf", in.hasKubeconfig(k.name)
		fits := has != nil && has.fits(p.authorities[kubernetesCA], k.profile()) && bytes.Equal(p.kubeconfig(in, k.user, has), in.Has[name])
		if slices.Contains(in.Renew, name) || !fits {
			out = append(out, name)
		}
	}
	return out
}

// Paths lists the files of those certificates, as Has names them.
func (in MasterInput) Paths() []string {
	var out []string
	for _, n := range in.Names() {
		if strings.HasSuffix(n, ".conf") {
			out = append(out, n)
		} else {
			out = append(out, "pki/"+n+".crt", "pki/"+n+".key")
		}
	}
	return out
}

// has is the pair of that name on the master; nil if there is none, or it cannot be read.
func (in MasterInput) has(name string) *Pair {
	pair, _ := parsePair(in.Has["pki/"+name+".crt"], in.Has["pki/"+name+".key"])
	return pair
}

func (in MasterInput) hasKubeconfig(name string) *Pair {
	pair, _ := parsePair(clientOf(in.Has[name+".conf"]))
	return pair
}

// MasterFiles returns everything that kubeadm would make below /etc/kubernetes on a master, keys 0600.
func (p *PKI) MasterFiles(in MasterInput) ([]File, error) {
	dir := path.Join("hosts", in.IP.String())
	if err := p.forget(dir, &in); err != nil {
		return nil, err
	}
	var files []File
	for _, a := range []string{kubernetesCA, frontProxyCA, etcdCA} {
		files = append(files, pairFiles("pki/"+a, p.authorities[a])...)
	}
	files = append(files, File{"pki/sa.key", 0o600, p.saPrivate}, File{"pki/sa.pub", 0o644, p.saPublic})
	for _, l := range in.leaves() {
		pair, err := p.chosen(path.Join(dir, l.name), l.authority, l.profile, in.has(l.name))
		if err != nil {
			return nil, fmt.Errorf("certificate %s of %s: %w", l.name, in.IP, err)
		}
		files = append(files, pairFiles("pki/"+l.name, pair)...)
	}
	for _, k := range in.kubeconfigs() {
		pair, err := p.chosen(path.Join(dir, k.name), kubernetesCA, k.profile(), in.hasKubeconfig(k.name))
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s of %s: %w", k.name, in.IP, err)
		}
		files = append(files, File{k.name + ".conf", 0o600, p.kubeconfig(in, k.user, pair)})
	}
	return files, nil
}

func pairFiles(name string, pair *Pair) []File {
	return []File{{name + ".crt", 0o644, pair.CertPEM}, {name + ".key", 0o600, pair.KeyPEM}}
}

type namedLeaf struct {
	name, authority string
	profile         profile
}

func (in MasterInput) leaves() []namedLeaf {
	domain := cmp.Or(in.DNSDomain, "cluster.local")
	api := profile{commonName: "kube-apiserver", usages: serverAuth}
	api.add(in.Hostname, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+domain, "localhost", in.IP.String(), "127.0.0.1")
	for _, s := range in.ServiceSubnets {
		api.add(s.Masked().Addr().Next().String())
	}
	api.add(in.APISANs...)
	api.without = in.Without
	etcd := profile{commonName: in.Hostname, usages: bothAuth}
	etcd.add(in.Hostname, "localhost", in.IP.String(), "127.0.0.1", "::1")
	etcd.add(in.EtcdSANs...)
	return []namedLeaf{
		{"apiserver", kubernetesCA, api},
		{"apiserver-kubelet-client", kubernetesCA, profile{commonName: "kube-apiserver-kubelet-client", organization: []string{in.adminGroup()}, usages: clientAuth}},
		{"front-proxy-client", frontProxyCA, profile{commonName: "front-proxy-client", usages: clientAuth}},
		{"apiserver-etcd-client", etcdCA, profile{commonName: "kube-apiserver-etcd-client", usages: clientAuth}},
		{"etcd/server", etcdCA, etcd},
		{"etcd/peer", etcdCA, etcd},
		{"etcd/healthcheck-client", etcdCA, profile{commonName: "kube-etcd-healthcheck-client", usages: clientAuth}},
	}
}

// add adds names and addresses, each once.
func (p *profile) add(names ...string) {
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			if !slices.Contains(p.addresses, a) {
				p.addresses = append(p.addresses, a)
			}
		} else if n != "" && !slices.Contains(p.names, n) {
			p.names = append(p.names, n)
		}
	}
}

// addFrom takes over the names of a certificate.
func (p *profile) addFrom(c *x509.Certificate) {
	p.add(c.DNSNames...)
	for _, ip := range c.IPAddresses {
		if !p.excludes(ip) {
			p.add(ip.String())
		}
	}
}

// excludes tells whether a certificate must not have an address.
func (p profile) excludes(ip net.IP) bool {
	return slices.ContainsFunc(p.without, func(text string) bool { return ip.Equal(net.ParseIP(text)) })
}

// adminGroup is the group of administrators: since 1.29 one that RBAC rules are made for.
func (in MasterInput) adminGroup() string {
	if in.SuperAdmin {
		return "kubeadm:cluster-admins"
	}
	return "system:masters"
}

type kubeconfigUser struct {
	name, user string
	groups     []string
}

func (k kubeconfigUser) profile() profile {
	return profile{commonName: k.user, organization: k.groups, usages: clientAuth}
}

func (in MasterInput) kubeconfigs() []kubeconfigUser {
	users := []kubeconfigUser{
		{"admin", "kubernetes-admin", []string{in.adminGroup()}},
		{"controller-manager", "system:kube-controller-manager", nil},
		{"scheduler", "system:kube-scheduler", nil},
	}
	if in.SuperAdmin && in.WithSuperAdmin {
		users = append(users, kubeconfigUser{"super-admin", "kubernetes-super-admin", []string{"system:masters"}})
	}
	return users
}

// server is the API server a kubeconfig names. The controllers of a master ask the API server beside them, as kubeadm has it:
// they must work when every other master is gone, and wherever the shared name leads then.
func (in MasterInput) server(user string) string {
	if strings.HasPrefix(user, "system:kube-") {
		if _, port, err := net.SplitHostPort(in.Endpoint); err == nil {
			return net.JoinHostPort(in.IP.String(), port)
		}
	}
	return in.Endpoint
}

func (p *PKI) kubeconfig(in MasterInput, user string, pair *Pair) []byte {
	b64 := base64.StdEncoding.EncodeToString
	name := cmp.Or(in.ClusterName, "kubernetes")
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    certificate-authority-data: %[3]s
    server: https://%[6]s
contexts:
- name: %[2]s@%[1]s
  context:
    cluster: %[1]s
    user: %[2]s
current-context: %[2]s@%[1]s
preferences: {}
users:
- name: %[2]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, name, user, b64(p.authorities[kubernetesCA].CertPEM), b64(pair.CertPEM), b64(pair.KeyPEM), in.server(user))
}

// RegistryCA is the certificate that clients of the registry trust, PEM.
func (p *PKI) RegistryCA() []byte { return p.authorities[registryCA].CertPEM }

// RegistryAuthority is the registry's CA with its key, PEM: what a machine needs
// to make certificates for further registry hosts.
func (p *PKI) RegistryAuthority() (certPEM, keyPEM []byte) {
	ca := p.authorities[registryCA]
	return ca.CertPEM, ca.KeyPEM
}

// Registry returns the certificate and key, PEM, of the registry on a host that is reached under the given names and addresses.
// hasCert and hasKey are those that it has now, if any.
func (p *PKI) Registry(host string, hasCert, hasKey []byte, names ...string) (certPEM, keyPEM []byte, err error) {
	prof, has := registryProfile(host, hasCert, hasKey, names)
	pair, err := p.chosen(registryPair(host), registryCA, prof, has)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of the registry on %s: %w", host, err)
	}
	return pair.CertPEM, pair.KeyPEM, nil
}

// RenewRegistry is like Registry, but makes the certificate anew in any case.
func (p *PKI) RenewRegistry(host string, hasCert, hasKey []byte, names ...string) (certPEM, keyPEM []byte, err error) {
	prof, has := registryProfile(host, hasCert, hasKey, names)
	ca := p.authorities[registryCA]
	if has != nil && has.Cert.CheckSignatureFrom(ca.Cert) == nil {
		prof.addFrom(has.Cert)
	}
	pair, err := ca.leaf(prof, p.validity)
	if err == nil {
		err = p.store(registryPair(host), pair)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of the registry on %s: %w", host, err)
	}
	return pair.CertPEM, pair.KeyPEM, nil
}

func registryPair(host string) string { return path.Join("hosts", host, "registry") }

func registryProfile(host string, hasCert, hasKey []byte, names []string) (profile, *Pair) {
	prof := profile{commonName: "sealos-registry", usages: serverAuth}
	prof.add(append([]string{host, "127.0.0.1", "localhost"}, names...)...)
	has, _ := parsePair(hasCert, hasKey) // nil if there is none
	return prof, has
}
