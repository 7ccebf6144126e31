package kubeadm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// changeable are the fields of a ClusterConfiguration that act on a running cluster: what the static pods of a control plane
// are made by, and what certificates of later are made by. The others are decided when the cluster is made.
func changeable() []string {
	return []string{"apiServer", "controllerManager", "scheduler", "certificateValidityPeriod", "caCertificateValidityPeriod"}
}

// clusterDefaults is what kubeadm fills into a ClusterConfiguration that does not say it.
func clusterDefaults() object {
	return object{
		"certificatesDir": "/etc/kubernetes/pki", "clusterName": "kubernetes", "imageRepository": "registry.k8s.io", "encryptionAlgorithm": "RSA-2048",
		"networking": object{"dnsDomain": "cluster.local", "serviceSubnet": "10.96.0.0/12"},
	}
}

// documentOf gives a document of a kind; nil if there is none.
func (d Documents) documentOf(kind string) *document {
	i := slices.IndexFunc(d.list, func(doc document) bool { return doc.kind == kind })
	if i < 0 {
		return nil
	}
	return &d.list[i]
}

// Says is what the documents say of a kind, for a digest. It leaves out the names that certificates get, which follow the
// masters.
func (d Documents) Says(kind string) map[string]any {
	doc := d.documentOf(kind)
	if doc == nil {
		return nil
	}
	fields := clone(doc.fields).(object)
	cut(fields, "apiServer", "certSANs")
	return fields
}

// SaysOf is what the documents say for one of [Components].
func (d Documents) SaysOf(component string) map[string]any {
	fields := d.Says(kindCluster)
	for other, field := range components {
		if other != component {
			delete(fields, field)
		}
	}
	return fields
}

// Text is the document of a kind as YAML, with its kind and version.
func (d Documents) Text(kind string) ([]byte, error) {
	return Documents{list: slices.DeleteFunc(slices.Clone(d.list), func(doc document) bool { return doc.kind != kind })}.YAML()
}

// Following gives the documents for a cluster that runs, which keeps stored as its ClusterConfiguration. Fields that are decided
// when a cluster is made are as stored; fixed names those that the documents want otherwise. changed is what of the stored one
// is to change.
func (d Documents) Following(stored []byte) (kept Documents, changed, fixed []Difference, err error) {
	fail := func(err error) (Documents, []Difference, []Difference, error) {
		return Documents{}, nil, nil, fmt.Errorf("the ClusterConfiguration that the cluster keeps: %w", err)
	}
	kind, doc, err := parseDocument("ConfigMap kubeadm-config", string(stored))
	if err != nil {
		return fail(err)
	}
	want := d.documentOf(kindCluster)
	if kind != kindCluster || want == nil {
		return fail(fmt.Errorf("it is a %q", kind))
	}
	if doc["apiVersion"] != want.apiVersion {
		return fail(fmt.Errorf("it is of version %v, and this kubeadm writes %s", doc["apiVersion"], want.apiVersion))
	}
	delete(doc, "apiVersion")
	delete(doc, "kind")
	fields := clone(doc).(object)
	for _, key := range changeable() {
		delete(fields, key)
		if value, ok := want.fields[key]; ok {
			fields[key] = clone(value)
		}
	}
	sans := union(listAt(want.fields, "apiServer", "certSANs"), listAt(doc, "apiServer", "certSANs"))
	put(fields, toList(sans), "apiServer", "certSANs")
	now, wanted := flatCluster(want.apiVersion, doc), flatCluster(want.apiVersion, want.fields)
	for _, diff := range differences(kindCluster, now, wanted) {
		top, _, _ := strings.Cut(diff.Field, ".")
		switch {
		case diff.Field == "apiServer.certSANs", diff.Field == "kubernetesVersion", strings.HasSuffix(diff.Field, "ertificateValidityPeriod"):
			// Others care for these.
		case slices.Contains(changeable(), top):
			changed = append(changed, diff)
		default:
			fixed = append(fixed, diff)
		}
	}
	kept = Documents{list: slices.Clone(d.list), settings: d.settings}
	kept.documentOf(kindCluster).fields = fields
	return kept, changed, fixed, nil
}

// flatCluster flattens a ClusterConfiguration with what kubeadm fills in.
func flatCluster(version string, fields object) flat {
	doc := clone(fields).(object)
	doc["apiVersion"] = version
	if l, err := canonical("", kindCluster, doc); err == nil {
		doc = l[kindCluster]
	}
	doc = mergeMaps(clusterDefaults(), doc, nil, nil)
	f := flat{}
	f.flatten(nil, doc, namedLists(kindCluster))
	return f
}

// Own tells which fields documents set, or take back: those of an operator, as they are now or as they were recorded.
func Own(docs ...[]byte) (func(Difference) bool, error) {
	set := map[string]flat{}
	for _, doc := range docs {
		l, err := parseLayer("user", [][]byte{doc})
		if err != nil {
			return nil, err
		}
		for kind, fields := range l {
			if kind == kindInit || kind == kindJoin {
				kind = kindJoin
			}
			if set[kind] == nil {
				set[kind] = flat{}
			}
			set[kind].flatten(nil, withNulls(fields), namedLists(kind))
		}
	}
	return func(d Difference) bool {
		kind := d.Document
		if kind == kindInit {
			kind = kindJoin
		}
		for field := range set[kind] {
			if field == d.Field || strings.HasPrefix(d.Field, field+".") || strings.HasPrefix(field, d.Field+".") {
				return true
			}
		}
		return false
	}, nil
}

// withNulls makes nulls visible: an operator who takes a setting back has set it, too.
func withNulls(value any) any {
	switch v := value.(type) {
	case nil:
		return "null"
	case object:
		out := object{}
		for key, child := range v {
			out[key] = withNulls(child)
		}
		return out
	}
	return value
}

// Argument is an argument of a command line.
type Argument struct{ Name, Value string }

// KubeletArguments are the arguments that the documents give to kubelet on their host.
func (d Documents) KubeletArguments() []Argument {
	var out []Argument
	for _, kind := range []string{kindInit, kindJoin} {
		doc := d.documentOf(kind)
		if doc == nil {
			continue
		}
		value, _ := get(doc.fields, "nodeRegistration", "kubeletExtraArgs")
		value, err := argumentsToList(clone(value))
		if err != nil {
			continue // rendering has refused it
		}
		list, _ := value.([]any)
		for _, entry := range list {
			fields, _ := entry.(object)
			text, _ := fields["value"].(string)
			out = append(out, Argument{entryName(entry), text})
		}
	}
	return out
}

// Ignored are the checks that kubeadm is told to overlook on the host of the documents.
func (d Documents) Ignored() []string {
	var out []string
	for _, kind := range []string{kindInit, kindJoin} {
		if doc := d.documentOf(kind); doc != nil {
			out = union(out, listAt(doc.fields, "nodeRegistration", "ignorePreflightErrors"))
		}
	}
	return out
}

// KubeletArgumentsOfKubeadm are the arguments of kubelet that kubeadm sets by itself.
func KubeletArgumentsOfKubeadm() []string {
	return []string{
		"container-runtime", "container-runtime-endpoint", "register-with-taints", "hostname-override", "pod-infra-container-image", "network-plugin", "cgroup-driver",
	}
}

// argumentsVariable is the variable in the file kubeadm-flags.env.
const argumentsVariable = "KUBELET_KUBEADM_ARGS"

// CompareArguments compares kubelet's arguments as the file kubeadm-flags.env of a host has them with those that are wanted, and
// gives the file that has these: with what kubeadm has set by itself.
func CompareArguments(now []byte, wanted []Argument) (text []byte, changed []Difference, err error) {
	value, ok := strings.CutPrefix(strings.TrimSpace(string(now)), argumentsVariable+"=")
	if !ok {
		return nil, nil, fmt.Errorf("it does not set %s", argumentsVariable)
	}
	if unquoted, err := strconv.Unquote(value); err == nil {
		value = unquoted
	}
	had, want := flat{}, flat{}
	var words []string
	const prefix = "nodeRegistration.kubeletExtraArgs."
	for _, a := range wanted {
		want[prefix+a.Name] = join(want[prefix+a.Name], a.Value)
	}
	for _, word := range strings.Fields(value) {
		name, v, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		if _, asked := want[prefix+name]; !asked && slices.Contains(KubeletArgumentsOfKubeadm(), name) {
			words = append(words, word)
			continue
		}
		had[prefix+name] = join(had[prefix+name], v)
	}
	changed = differences(kindJoin, had, want)
	if len(changed) == 0 {
		return now, nil, nil
	}
	for _, a := range wanted {
		words = append(words, "--"+a.Name+"="+a.Value)
	}
	return fmt.Appendf(nil, "%s=%q\n", argumentsVariable, strings.Join(words, " ")), changed, nil
}

// ModeOf gives the mode of a configuration of kube-proxy; empty if it does not say.
func ModeOf(config []byte) string {
	doc, err := decode(config)
	if err != nil {
		return ""
	}
	return textAt(doc, "mode")
}
