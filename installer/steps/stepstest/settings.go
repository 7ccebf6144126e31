package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer/agent"
)

const (
	kubeletConfig = kubeletDir + "/config.yaml"
	kubeletFlags  = kubeletDir + "/kubeadm-flags.env"
	// NoSuchFlag is an argument that an API server does not know: it ends at once.
	NoSuchFlag = "no-such-flag"
	// NoSuchRoot is a cgroupRoot with which kubelet ends at once.
	NoSuchRoot = "/no-such-root"
)

// dataKey is the key in each ConfigMap that kubeadm keeps.
var dataKey = map[string]string{"kubeadm-config": "ClusterConfiguration", "kubelet-config": "kubelet", "kube-proxy": "config.conf"}

// documents are those of a stream, by kind.
func documents(text string) map[string]object {
	out := map[string]object{}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o object
		if yaml.Unmarshal([]byte(doc), &o) == nil && o != nil {
			kind, _ := o["kind"].(string)
			out[kind] = o
		}
	}
	return out
}

// inYAML writes an object as kubeadm does, its fields in their order.
func inYAML(o object) string {
	text, err := yaml.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// arguments are those of a list of documents, as a command line has them.
func arguments(value any) (out []string) {
	switch v := value.(type) {
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, fmt.Sprintf("--%s=%v", name, v[name]))
		}
	case []any:
		for _, entry := range v {
			if o, ok := entry.(object); ok {
				out = append(out, fmt.Sprintf("--%v=%v", o["name"], o["value"]))
			}
		}
	}
	return out
}

func below(o object, keys ...string) any {
	var value any = o
	for _, key := range keys {
		o, _ := value.(object)
		value = o[key]
	}
	return value
}

// podManifest is the manifest that kubeadm writes for a static pod of a master with an address.
func podManifest(pod string, cluster object, ip string) string {
	field := map[string]string{"kube-apiserver": "apiServer", "kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler"}[pod]
	command := []any{pod}
	if pod == "kube-apiserver" {
		command = append(command, "--advertise-address="+ip)
	}
	for _, a := range arguments(below(cluster, field, "extraArgs")) {
		command = append(command, a)
	}
	container, spec := object{"name": pod, "command": command}, object{"hostNetwork": true}
	if version, ok := cluster["kubernetesVersion"].(string); ok {
		container["image"] = imageRepository + pod + ":" + version
	}
	mounts, volumes := []any{}, []any{}
	list, _ := below(cluster, field, "extraVolumes").([]any)
	for _, v := range list {
		volumes = append(volumes, object{"name": below(v.(object), "name"), "hostPath": object{"path": below(v.(object), "hostPath")}})
		mounts = append(mounts, object{"name": below(v.(object), "name"), "mountPath": below(v.(object), "mountPath")})
	}
	container["volumeMounts"], spec["volumes"], spec["containers"] = mounts, volumes, []any{container}
	return inYAML(object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": object{"name": pod, "namespace": "kube-system", "labels": object{"component": pod, "tier": "control-plane"}},
	})
}

// kubeletDocument is kubelet's configuration with what a kubeadm fills in; socket is empty for the one of the whole cluster.
func (r release) kubeletDocument(doc object, socket string) string {
	out := maps.Clone(doc)
	if out == nil {
		out = object{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
	}
	out["staticPodPath"], out["syncFrequency"] = manifests, "0s"
	if minor(r.version) >= 36 {
		out["memoryReservationPolicy"] = "None" // a field that older ones do not know
	}
	if socket != "" {
		out["containerRuntimeEndpoint"] = socket
	}
	return inYAML(out)
}

func proxyDocument(doc, cluster object) string {
	out := maps.Clone(doc)
	out["clusterCIDR"], out["bindAddress"] = below(cluster, "networking", "podSubnet"), "0.0.0.0"
	return inYAML(out)
}

// registration gives what the documents of an init or a join say of their host.
func registration(docs map[string]object) (socket, flags string) {
	for _, kind := range []string{"InitConfiguration", "JoinConfiguration"} {
		if o, ok := docs[kind]; ok {
			socket, _ = below(o, "nodeRegistration", "criSocket").(string)
			flags = fmt.Sprintf("KUBELET_KUBEADM_ARGS=%q\n", strings.Join(arguments(below(o, "nodeRegistration", "kubeletExtraArgs")), " "))
		}
	}
	return socket, flags
}

// keepSettings makes the ConfigMaps that kubeadm init makes of its documents.
func (r release) keepSettings(s *Site, text string) {
	docs := documents(text)
	s.kube.notes = map[string]string{}
	s.kube.configs = map[string]string{
		"kubeadm-config": inYAML(docs["ClusterConfiguration"]), "kubelet-config": r.kubeletDocument(docs["KubeletConfiguration"], ""),
		"kube-proxy": proxyDocument(docs["KubeProxyConfiguration"], docs["ClusterConfiguration"]),
	}
	s.kube.proxyRuns = s.kube.configs["kube-proxy"]
}

// instanceConfig is where kubeadm keeps what of kubelet's configuration is of its host alone.
const instanceConfig = kubeletDir + "/instance-config.yaml"

// kubeletFiles writes kubelet's settings for the documents of an init or a join.
func (r release) kubeletFiles(m *Machine, text string) error {
	docs := documents(text)
	socket, flags := registration(docs)
	config, ok := docs["KubeletConfiguration"]
	if !ok {
		config = documents(m.site.kube.configs["kubelet-config"])["KubeletConfiguration"]
	}
	err := errors.Join(m.tree.share(kubeletFlags, flags), m.tree.share(kubeletConfig, r.kubeletDocument(config, socket)))
	if r.version != "" {
		err = errors.Join(err, m.tree.share(instanceConfig, inYAML(object{"kind": "KubeletConfiguration", "containerRuntimeEndpoint": socket})))
	}
	m.takesConfig()
	return err
}

// clusterDocument is the ClusterConfiguration of an init's documents or, for a join, that of the cluster.
func clusterDocument(m *Machine, text string) object {
	if doc, ok := documents(text)["ClusterConfiguration"]; ok {
		return doc
	}
	return documents(m.site.kube.configs["kubeadm-config"])["ClusterConfiguration"]
}

// kubeadmPhase does a phase of kubeadm init, which writes into another directory, or prints.
func (c *call) kubeadmPhase(args []string, q agent.ExecRequest) (out string, err error) {
	return out, c.quietly(func(_ *Site, m *Machine) error {
		docs := documents(m.tree.text(args[len(args)-1]))
		dir := q.Env["KUBEADM_INIT_DRYRUN_DIR"]
		cluster := docs["ClusterConfiguration"]
		switch strings.Join(args[:3], " ") {
		case "control-plane all --dry-run":
			for _, pod := range staticPods() {
				if pod == "etcd" {
					continue
				}
				if err := m.tree.put(path.Join(dir, pod+".yaml"), podManifest(pod, cluster, m.IP)); err != nil {
					return err
				}
			}
			return nil
		case "kubelet-start --dry-run --config":
			socket, flags := registration(docs)
			if err := m.tree.put(path.Join(dir, path.Base(kubeletFlags)), flags); err != nil {
				return err
			}
			return m.tree.put(path.Join(dir, path.Base(kubeletConfig)), c.release.kubeletDocument(docs["KubeletConfiguration"], socket))
		case "addon kube-proxy --print-manifest":
			out = "---\n" + inYAML(object{"kind": "ServiceAccount"}) + "---\n" + inYAML(object{
				"kind": "ConfigMap", "data": object{"config.conf": proxyDocument(docs["KubeProxyConfiguration"], cluster)},
			})
			return nil
		}
		return fmt.Errorf("not simulated: kubeadm init phase %v", args)
	})
}

// takesConfig notes which kubelet starts now, and whether it can live with its configuration.
func (m *Machine) takesConfig() {
	before := m.programs.kubelet
	if m.programs.kubelet = installed(m, "kubelet"); before != m.programs.kubelet {
		watchKubelet(m, before)
		defer watchSkew(m.site)
	}
	m.refuses = strings.Contains(m.tree.text(kubeletConfig), "cgroupRoot: "+NoSuchRoot)
	m.kubeletRuns = m.tree.text(kubeletConfig) + m.tree.text(kubeletFlags)
}

// patchConfig merges a patch into a ConfigMap of kube-system. On a command line every user of the host would see it.
func (s workloads) patchConfig(words []string, flags map[string]string, stdin []byte) error {
	var patch struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	if words[0] != "configmap" || flags["--type"] != "merge" || flags["--namespace"] != "kube-system" || flags["--patch-file"] != "/dev/stdin" {
		return fmt.Errorf("not simulated: kubectl patch %v", words)
	}
	if _, ok := s.kube.configs[words[1]]; !ok {
		return fmt.Errorf("error from server (NotFound): configmaps %q not found", words[1])
	}
	if err := json.Unmarshal(stdin, &patch); err != nil {
		return err
	}
	s.kube.configs, s.kube.notes = maps.Clone(s.kube.configs), maps.Clone(s.kube.notes)
	for _, text := range patch.Metadata.Annotations {
		s.kube.notes[words[1]] = text
	}
	if text, ok := patch.Data[dataKey[words[1]]]; ok {
		s.kube.configs[words[1]] = text
	}
	return nil
}

func (s workloads) configList() []object {
	list := []object{}
	for name, text := range s.kube.configs {
		meta := object{"namespace": "kube-system", "name": name}
		if note, ok := s.kube.notes[name]; ok {
			meta["annotations"] = object{"sealbuild.io/settings": note}
		}
		list = append(list, object{"kind": "ConfigMap", "metadata": meta, "data": object{dataKey[name]: text}})
	}
	return list
}

// leaseList lists the leases of the nodes: a kubelet that runs renews its own all the time.
func (s workloads) leaseList() []object {
	list := []object{}
	for name, n := range s.kube.nodes {
		m, at := s.machine(n.ip), time.Time{}
		if m != nil {
			if at = m.heard; m.kubelet() {
				at = time.Now()
			}
		}
		list = append(list, object{
			"kind": "Lease", "metadata": object{"namespace": "kube-node-lease", "name": name}, "spec": object{"renewTime": at.UTC().Format(time.RFC3339Nano)},
		})
	}
	return list
}

// rolloutProxy starts every kube-proxy anew, or says that all run.
func (s workloads) rolloutProxy(words []string) string {
	if words[1] == "restart" {
		s.kube.proxyRuns = s.kube.configs["kube-proxy"]
		for _, m := range s.machines {
			m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
		}
	}
	return ""
}

// specOf is what the manifest of a static pod says of its containers and volumes.
func specOf(s *Site, manifest string) (spec object) {
	if spec, ok := s.specs[manifest]; ok {
		return spec
	}
	var manifested object
	if yaml.Unmarshal([]byte(manifest), &manifested) != nil {
		return nil
	}
	spec, _ = below(manifested, "spec").(object)
	if s.specs == nil {
		s.specs = map[string]object{}
	}
	s.specs[manifest] = spec
	return spec
}

// ConfigMap gives one of those that kubeadm keeps.
func ConfigMap(s *Site, name string) string {
	defer s.locked()()
	return s.kube.configs[name]
}

// EditConfigMap changes one by hand.
func EditConfigMap(s *Site, name, old, text string) {
	defer s.locked()()
	s.kube.configs = maps.Clone(s.kube.configs)
	s.kube.configs[name] = strings.ReplaceAll(s.kube.configs[name], old, text)
}

// ProxyRuns is the configuration that every kube-proxy has read.
func ProxyRuns(s *Site) string {
	defer s.locked()()
	return s.kube.proxyRuns
}

// KubeletRuns is the configuration that the kubelet of a machine has read, with its arguments.
func (m *Machine) KubeletRuns() string {
	defer m.site.locked()()
	return m.kubeletRuns
}

// Unschedulable tells whether the Node of a name is cordoned.
func (s *Site) Unschedulable(name string) bool {
	defer s.locked()()
	return s.kube.nodes[name].unschedulable
}
