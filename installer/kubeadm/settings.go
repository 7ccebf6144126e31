package kubeadm

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Settings is what the merged documents say about the cluster as a whole. It is the same for every kind of Input.
type Settings struct {
	ClusterName          string
	ControlPlaneEndpoint string // HOST:PORT
	PodSubnets           []netip.Prefix
	ServiceSubnets       []netip.Prefix
	DNSDomain            string
	CertSANs             []string // of the API server's certificate
	EtcdServerSANs       []string
	EtcdPeerSANs         []string
	ExternalEtcd         bool
	EtcdDataDir          string // of etcd on the masters
	CertificatesDir      string
	ImageRepository      string // empty: Kubernetes' own
	KubeProxyMode        string
	// How long certificates are valid; zero leaves it to whoever makes them.
	CertificateValidity, CAValidity time.Duration
}

// settingsOf reads the settings and refuses addresses that would collide.
func (c checked) settingsOf(docs layer) (Settings, error) {
	cluster := docs[kindCluster]
	_, external := get(cluster, "etcd", "external")
	settings := Settings{
		ClusterName:          cmp.Or(textAt(cluster, "clusterName"), "kubernetes"),
		ControlPlaneEndpoint: textAt(cluster, "controlPlaneEndpoint"),
		DNSDomain:            cmp.Or(textAt(cluster, "networking", "dnsDomain"), "cluster.local"),
		CertSANs:             listAt(cluster, "apiServer", "certSANs"),
		EtcdServerSANs:       listAt(cluster, "etcd", "local", "serverCertSANs"),
		EtcdPeerSANs:         listAt(cluster, "etcd", "local", "peerCertSANs"),
		ExternalEtcd:         external,
		EtcdDataDir:          cmp.Or(textAt(cluster, "etcd", "local", "dataDir"), DefaultEtcdDataDir),
		CertificatesDir:      cmp.Or(textAt(cluster, "certificatesDir"), "/etc/kubernetes/pki"),
		ImageRepository:      textAt(cluster, "imageRepository"),
		KubeProxyMode:        textAt(docs[kindKubeProxy], "mode"),
	}
	var err error
	if settings.CertificateValidity, err = duration(cluster, "certificateValidityPeriod"); err != nil {
		return Settings{}, err
	}
	if settings.CAValidity, err = duration(cluster, "caCertificateValidityPeriod"); err != nil {
		return Settings{}, err
	}
	if settings.PodSubnets, err = subnets(cluster, "podSubnet"); err != nil {
		return Settings{}, err
	}
	if settings.ServiceSubnets, err = subnets(cluster, "serviceSubnet"); err != nil {
		return Settings{}, err
	}
	return settings, c.checkAddresses(settings)
}

// duration reads a field that says how long something lasts.
func duration(cluster object, name string) (time.Duration, error) {
	text := textAt(cluster, name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("it is not positive")
	}
	if err != nil {
		return 0, &ConfigError{Kind: kindCluster, Field: name, Err: fmt.Errorf("%q: %w: %w", text, ErrInvalid, err), Remedy: "write hours: 8760h0m0s is a year"}
	}
	return d, nil
}

// subnets reads one network per address family, separated by commas.
func subnets(cluster object, name string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for text := range strings.SplitSeq(textAt(cluster, "networking", name), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, &ConfigError{
				Kind: kindCluster, Field: "networking." + name,
				Err: fmt.Errorf("%q is not a network: %w", text, ErrInvalid), Remedy: "write ADDRESS/BITS",
			}
		}
		list = append(list, prefix.Masked())
	}
	return list, nil
}

// checkAddresses refuses hosts and the VIP inside the cluster's own networks,
// where packets to them would never leave, and networks that overlap.
func (c checked) checkAddresses(settings Settings) error {
	fail := func(field, format string, args ...any) error {
		return &ConfigError{
			Kind: kindCluster, Field: "networking." + field, Err: fmt.Errorf(format+": %w", append(args, ErrInvalid)...),
			Remedy: "choose another podSubnet or serviceSubnet in the Clusterfile",
		}
	}
	check := func(field string, networks []netip.Prefix) error {
		for _, network := range networks {
			if network.Contains(c.vip) {
				return fail(field, "the virtual address %s lies in %s", c.vip, network)
			}
			for _, host := range append(c.masters[:len(c.masters):len(c.masters)], c.nodeIP) {
				if network.Contains(host) {
					return fail(field, "host %s lies in %s", host, network)
				}
			}
		}
		return nil
	}
	if err := check("podSubnet", settings.PodSubnets); err != nil {
		return err
	}
	if err := check("serviceSubnet", settings.ServiceSubnets); err != nil {
		return err
	}
	for _, pods := range settings.PodSubnets {
		for _, services := range settings.ServiceSubnets {
			if pods.Overlaps(services) {
				return fail("podSubnet", "%s overlaps the service network %s", pods, services)
			}
		}
	}
	return nil
}

// Networks gives the networks of pods and of Services that the documents ask for, whether or not the hosts can have them.
func Networks(in Input) (pods, services []netip.Prefix, err error) {
	c, err := check(in)
	if err != nil {
		return nil, nil, err
	}
	docs, err := c.layersOver(c.defaults())
	if err != nil {
		return nil, nil, err
	}
	if pods, err = subnets(docs[kindCluster], "podSubnet"); err != nil {
		return nil, nil, err
	}
	services, err = subnets(docs[kindCluster], "serviceSubnet")
	return pods, services, err
}
