package site

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"go.yaml.in/yaml/v3"
)

// MasterTaints are the taints that kubeadm gives to a master, as kubectl takes them: its own, or those of the configuration.
func (st *Site) MasterTaints(t *fleet.Target) ([]string, error) {
	kind := kubeadm.JoinMaster
	if t == st.Master0() {
		kind = kubeadm.Init
	}
	docs, err := kubeadm.Render(st.KubeadmInput(kind, t))
	if err != nil {
		return nil, err
	}
	text, err := docs.YAML()
	if err != nil {
		return nil, err
	}
	for dec := yaml.NewDecoder(strings.NewReader(string(text))); ; {
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

// SettingsFor renders the configuration of a host, templates and all, and reads back what matters here. Templates that
// cannot be rendered are told by the step that renders them all.
func (st *Site) SettingsFor(t *fleet.Target) (preflight.Settings, error) {
	rendered, failed := st.Share(t).Render()
	if len(failed) > 0 {
		return preflight.Settings{}, nil
	}
	share := st.Share(t)
	share.Overlays = rendered
	docs, err := kubeadm.Render(st.KubeadmInputFor(kubeadm.Init, t, share))
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
	return st.KubeadmInputFor(kind, t, st.Share(t))
}

// KubeadmInputFor is the same for a host whose templates were rendered, and not kept.
func (st *Site) KubeadmInputFor(kind kubeadm.Kind, t *fleet.Target, share payload.Share) kubeadm.Input {
	ipvs := true
	for _, h := range st.Targets {
		ipvs = ipvs && h.Facts.Modules["ip_vs"]
	}
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
		SingleNode: len(st.Cluster.Hosts) == 1, IPVS: ipvs, EtcdDataDir: st.defaultDataDir(), IgnorePreflight: st.ignoredChecks(t),
		ImageRepository: strings.TrimSuffix(st.HeldPrefix(t), "/"),
	}
}

// DiscoveryFile is the kubeconfig with which a host joins.
func (st *Site) DiscoveryFile() string { return st.Dir("etc", "discovery.conf") }

// AuditPolicy is what the API server is told to read: the images' or, since it
// does not start without one, that of the installer.
func (st *Site) AuditPolicy(t *fleet.Target) []byte {
	policies := append([][]byte{[]byte(kubeadm.DefaultAuditPolicy)}, st.Share(t).Documents("statics/audit-policy.yml")...)
	return policies[len(policies)-1]
}

// ResolvConf is the file that every kubelet of the cluster gives to its pods as resolv.conf, CoreDNS among them.
//
// It has one name on all hosts because kubelet's configuration is one: kubeadm copies it from the cluster to whoever
// joins, and left alone writes systemd-resolved's file into it when the first master has that service, whether or not
// that file names a server, and whether or not another host has it at all. What lies under the name is each host's own
// matter: a link to the file that the site's own tools keep, so that servers that change later (DHCP) change for pods
// too, kubelet reading it for each pod; or, where none of those would do for a pod, a file of ours. An argument of
// kubelet per host would say the same, but could only be changed with kubelet's restart; a patch of kubeadm's is
// forgotten by the next `kubeadm upgrade`.
func (st *Site) ResolvConf() string { return st.Dir("etc", "resolv.conf") }

// kubeadmFile is where an image may carry kubeadm documents of its own.
const kubeadmFile = "etc/kubeadm.yml"
