package kubeadm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kinds of documents whose settings can be changed in a running cluster, as [Difference] names them.
const (
	Cluster   = kindCluster
	Kubelet   = kindKubelet
	KubeProxy = kindKubeProxy
)

// Difference is a field of a document that is in force otherwise than it is wanted.
type Difference struct {
	Document string `json:"document"`       // its kind
	Field    string `json:"field"`          // dotted path; entries of lists that merge by name have their name
	From     string `json:"from,omitempty"` // what is in force: text as it is, anything else as JSON; empty if nothing is set
	To       string `json:"to,omitempty"`   // what is wanted, likewise
}

func (d Difference) String() string {
	return fmt.Sprintf("%s %s: %s -> %s", d.Document, d.Field, cmp.Or(d.From, "not set"), cmp.Or(d.To, "not set"))
}

// flat is a document as its values by dotted path.
type flat map[string]string

// flatten puts what is below a path into a flat document. Maps go field by field, lists that merge by name entry by entry, all
// other lists as a whole. Nulls and empty maps say nothing.
func (f flat) flatten(path []string, value any, named [][]string) {
	at := strings.Join(path, ".")
	below := func(name string) []string { return append(slices.Clone(path), name) }
	switch v := value.(type) {
	case nil:
	case object:
		for key, child := range v {
			f.flatten(below(key), child, named)
		}
	case []any:
		if !slices.ContainsFunc(named, func(p []string) bool { return slices.Equal(p, path) }) {
			f[at] = inJSON(v)
			return
		}
		for _, entry := range v {
			fields, _ := entry.(object)
			text := inJSON(fields)
			if value, ok := fields["value"].(string); ok && len(fields) == 2 {
				text = value
			}
			name := strings.Join(below(entryName(entry)), ".")
			if had, twice := f[name]; twice { // an argument may be repeated
				text = had + " and " + text
			}
			f[name] = text
		}
	case string:
		f[at] = v
	default:
		f[at] = inJSON(v)
	}
}

func inJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// differences compares two flat documents of a kind.
func differences(kind string, now, wanted flat) []Difference {
	var out []Difference
	for _, field := range slices.Sorted(maps.Keys(either(now, wanted))) {
		if now[field] != wanted[field] {
			out = append(out, Difference{kind, field, now[field], wanted[field]})
		}
	}
	return out
}

func either(a, b flat) flat {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// decode reads YAML as an object, numbers as they are written.
func decode(text []byte) (object, error) {
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var doc object
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, fmt.Errorf("it is empty")
	}
	return doc, nil
}

// runtimeEndpoint is the field of kubelet's configuration that kubeadm sets host by host.
const runtimeEndpoint = "containerRuntimeEndpoint"

// CompareConfig compares a configuration of kubelet or kube-proxy that is in force with the one that is wanted, both as kubeadm
// writes them. What kubeadm sets host by host does not count.
func CompareConfig(kind string, now, wanted []byte) ([]Difference, error) {
	var both [2]flat
	for i, text := range [][]byte{now, wanted} {
		doc, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		delete(doc, runtimeEndpoint)
		both[i] = flat{}
		both[i].flatten(nil, doc, nil)
	}
	return differences(kind, both[0], both[1]), nil
}

// KubeletConfigFor is kubelet's configuration as one host gets it: wanted, with what the host's own file says of that host.
// An empty own gives the configuration of the whole cluster.
func KubeletConfigFor(own, wanted []byte) ([]byte, error) {
	doc, err := decode(wanted)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kindKubelet, err)
	}
	delete(doc, runtimeEndpoint)
	if len(own) > 0 {
		had, err := decode(own)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kindKubelet, err)
		}
		if socket, ok := had[runtimeEndpoint]; ok {
			doc[runtimeEndpoint] = socket
		}
	}
	return toYAML(doc)
}

// components are the static pods of a control plane that documents configure, with their fields in a ClusterConfiguration.
var components = map[string]string{
	"kube-apiserver": "apiServer", "kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler",
}

// Components names the static pods of a control plane in the order in which they are changed.
func Components() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}

// ComparePod compares the manifest of one of [Components] with the one that is wanted, both as kubeadm writes them. Fields are
// those of a ClusterConfiguration where it has one for them, else those of the pod.
func ComparePod(component string, now, wanted []byte) ([]Difference, error) {
	var both [2]flat
	for i, text := range [][]byte{now, wanted} {
		pod, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("manifest of %s: %w", component, err)
		}
		both[i] = flatPod(components[component], pod)
	}
	return differences(kindCluster, both[0], both[1]), nil
}

// flatPod tells of a static pod in the words of a ClusterConfiguration.
func flatPod(field string, pod object) flat {
	f := flat{}
	pod = clone(pod).(object)
	delete(pod, "status")
	containers, _ := get(pod, "spec", "containers")
	list, _ := containers.([]any)
	if len(list) == 1 {
		c, _ := list[0].(object)
		for _, name := range []string{"command", "args"} {
			words, _ := c[name].([]any)
			for _, word := range words {
				text := fmt.Sprint(word)
				if flag, isFlag := strings.CutPrefix(text, "--"); isFlag {
					name, value, _ := strings.Cut(flag, "=")
					f[field+".extraArgs."+name] = join(f[field+".extraArgs."+name], value)
				} else {
					f[field+".command"] = join(f[field+".command"], text)
				}
			}
			delete(c, name)
		}
		named(f, field+".extraEnvs.", c, "env")
		named(f, field+".extraVolumes.mounted.", c, "volumeMounts")
		f.flatten([]string{field, "pod", "container"}, c, nil)
		spec, _ := pod["spec"].(object)
		delete(spec, "containers")
		named(f, field+".extraVolumes.", spec, "volumes")
	}
	f.flatten([]string{field, "pod"}, pod, nil)
	return f
}

func join(had, more string) string {
	if had == "" {
		return more
	}
	return had + " and " + more
}

// named moves a list whose entries have a name out of an object.
func named(f flat, prefix string, of object, list string) {
	entries, _ := of[list].([]any)
	for _, entry := range entries {
		f[prefix+entryName(entry)] = join(f[prefix+entryName(entry)], inJSON(entry))
	}
	delete(of, list)
}

// Holds tells whether an object of the API has all that a manifest of a static pod says of its containers and volumes: the API
// server adds defaults, and takes nothing away.
func Holds(pod, manifest []byte) (bool, error) {
	have, err := decode(pod)
	if err != nil {
		return false, err
	}
	want, err := decode(manifest)
	if err != nil {
		return false, err
	}
	for _, list := range []string{"containers", "volumes"} {
		h, _ := get(have, "spec", list)
		w, _ := get(want, "spec", list)
		if !within(w, h) {
			return false, nil
		}
	}
	return true, nil
}

// within tells whether all of want is in have.
func within(want, have any) bool {
	switch w := want.(type) {
	case nil:
		return true
	case object:
		h, _ := have.(object)
		for key, value := range w {
			if !within(value, h[key]) {
				return false
			}
		}
		return true
	case []any:
		h, _ := have.([]any)
		if len(h) != len(w) {
			return false
		}
		for i := range w {
			if !within(w[i], h[i]) {
				return false
			}
		}
		return true
	}
	return inJSON(want) == inJSON(have) || want == "" && have == nil
}

// Meaning is a digest of what a YAML document says: it stays the same when only its form changes, or the names that certificates
// get, which follow the masters. What is no YAML is taken as it is.
func Meaning(text []byte) string {
	data := text
	if doc, err := decode(text); err == nil {
		if doc["kind"] == kindCluster {
			cut(doc, "apiServer", "certSANs")
		}
		data = []byte(inJSON(doc))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
