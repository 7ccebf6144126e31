package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/sealos"
	"go.yaml.in/yaml/v3"
)

// MasterTaints are the taints that kubeadm gives to a master, as kubectl takes them (KEY=VALUE:EFFECT): kubeadm's own, or
// those of the documents.
func (st *Site) MasterTaints(t *fleet.Target) ([]string, error) {
	kind := kubeadm.JoinMaster
	if t == st.Master0() {
		kind = kubeadm.Init
	}
	text, err := KubeadmYAML(st.KubeadmInput(kind, t))
	if err != nil {
		return nil, err
	}
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var d struct {
			Kind             string `yaml:"kind"`
			NodeRegistration struct {
				Taints *[]struct {
					Key    string `yaml:"key"`
					Value  string `yaml:"value"`
					Effect string `yaml:"effect"`
				} `yaml:"taints"`
			} `yaml:"nodeRegistration"`
		}
		if err := dec.Decode(&d); errors.Is(err, io.EOF) {
			return []string{"node-role.kubernetes.io/control-plane:NoSchedule"}, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the configuration for kubeadm: %w", err)
		}
		if d.Kind != "InitConfiguration" && d.Kind != "JoinConfiguration" || d.NodeRegistration.Taints == nil {
			continue
		}
		out := []string{}
		for _, taint := range *d.NodeRegistration.Taints {
			out = append(out, strings.TrimSuffix(taint.Key+"="+taint.Value, "=")+":"+taint.Effect)
		}
		return out, nil
	}
}

// SettingsFor renders the templates and the documents of a host, and gives what the preflight judges by. If a template
// cannot be rendered the settings are empty: the step that renders all templates reports that.
func (st *Site) SettingsFor(t *fleet.Target) (preflight.Settings, error) {
	share := st.Share(t)
	var failed []error
	if share.Overlays, failed = share.Render(); len(failed) > 0 {
		return preflight.Settings{}, nil
	}
	docs, err := kubeadm.Render(st.kubeadmInputFor(kubeadm.Init, t, share))
	if err != nil {
		return preflight.Settings{}, err
	}
	text, err := docs.YAML()
	if err != nil {
		return preflight.Settings{}, err
	}
	k, err := preflight.ReadSettings(text)
	k.Pods, k.Services = docs.Settings().PodSubnets, docs.Settings().ServiceSubnets
	k.Minor = preflight.MinorOf(st.Payload.Rootfs().KubeVersion())
	k.EtcdDir, _ = st.etcdSettingsIn(docs)
	return k, err
}

// KubeadmInput is what the documents of a host depend on.
func (st *Site) KubeadmInput(kind kubeadm.Kind, t *fleet.Target) kubeadm.Input {
	return st.kubeadmInputFor(kind, t, st.Share(t))
}

// InitDocuments are the documents that kubeadm gets if it begins the cluster with a host.
func (st *Site) InitDocuments(t *fleet.Target) (kubeadm.Documents, error) {
	return kubeadm.Render(st.KubeadmInput(kubeadm.Init, t))
}

// WantedOf are the documents that kubeadm would get for a host now, for one of its commands. ipvs is the mode of kube-proxy
// where no document says one. The templates of the images need not have been rendered.
func WantedOf(st *Site, kind kubeadm.Kind, t *fleet.Target, ipvs bool) (kubeadm.Documents, error) {
	share := st.Share(t)
	if t.Overlays == nil {
		var failed []error
		if share.Overlays, failed = share.Render(); len(failed) > 0 {
			return kubeadm.Documents{}, errors.Join(failed...)
		}
	}
	in := st.kubeadmInputFor(kind, t, share)
	in.IPVS = ipvs
	return kubeadm.Render(in)
}

// kubeadmInputFor is the same with a share whose templates may have been rendered for this question only.
func (st *Site) kubeadmInputFor(kind kubeadm.Kind, t *fleet.Target, share payload.Share) kubeadm.Input {
	ipvs := !slices.ContainsFunc(st.Targets, func(h *fleet.Target) bool { return !h.Facts.Modules["ip_vs"] })
	env := share.RootfsEnv()
	socket := env["SEALOS_SYS_CRI_ENDPOINT"]
	if socket != "" && !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	return kubeadm.Input{
		Kind: kind, KubernetesVersion: st.Payload.Rootfs().KubeVersion(), VIP: st.Payload.VIP(st.Cluster), Masters: st.Cluster.MasterIPs(),
		Through:     st.Master0().IP.String(),
		Node:        kubeadm.Node{IP: t.IP.String(), Hostname: t.NodeName(), Master: t.Master},
		APIEndpoint: net.JoinHostPort(installer.APIServerDomain, strconv.Itoa(installer.APIServerPort)),
		CRISocket:   socket, ImageSocket: env["SEALOS_SYS_IMAGE_ENDPOINT"], Discovery: st.DiscoveryFile(),
		ImageDocs: share.Documents(kubeadmFile), UserDocs: st.Cluster.Kubeadm, ResolvConf: st.ResolvConf(),
		SingleNode: len(st.Cluster.Hosts) == 1, IPVS: ipvs, EtcdDataDir: st.defaultDataDir(), IgnorePreflight: ignoredChecks(st, t),
		ImageRepository: strings.TrimSuffix(sealos.HeldPrefix(st.Share(t)), "/"),
	}
}

// KubeadmYAML renders the documents for kubeadm as it reads them.
func KubeadmYAML(in kubeadm.Input) ([]byte, error) {
	docs, err := kubeadm.Render(in)
	if err != nil {
		return nil, err
	}
	return docs.YAML()
}

// DiscoveryFile is the kubeconfig with which a host joins, on the host.
func (st *Site) DiscoveryFile() string {
	return st.Dir("etc", "discovery.conf") //docs:file hosts /var/lib/sealos/data/<cluster>/etc/discovery.conf: what kubeadm joins with
}

// AuditPolicy is the audit policy of the API server on a host: that of the last image that has one, or the installer's.
// Without any the API server does not start.
func (st *Site) AuditPolicy(t *fleet.Target) []byte {
	policies := append([][]byte{[]byte(kubeadm.DefaultAuditPolicy)}, st.Share(t).Documents("statics/audit-policy.yml")...)
	return policies[len(policies)-1]
}

// ResolvConf is the file that every kubelet of the cluster gives to its pods as resolv.conf, CoreDNS among them.
//
// It has the same name on all hosts since all kubelets have the same configuration, which kubeadm copies from the cluster
// to each host that joins. If nothing is said there, kubeadm writes systemd-resolved's file into it when the first master
// has that service: even if that file names no server, or other hosts do not have it.
//
// What lies under the name differs from host to host. It is a link to the file that the site's own tools keep, so that name
// servers that change later (DHCP) change for pods, too: kubelet reads the file for each pod. Where no such file serves a
// pod, it is a file of ours. An argument of kubelet for each host would say the same, but changes only with a restart of
// kubelet; and the next `kubeadm upgrade` forgets a patch of kubeadm's.
func (st *Site) ResolvConf() string {
	return st.Dir("etc", "resolv.conf") //docs:file hosts /var/lib/sealos/data/<cluster>/etc/resolv.conf: name servers for pods
}

// kubeadmFile is where an image may carry kubeadm documents of its own.
const kubeadmFile = "etc/kubeadm.yml"
