package scan

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// mode says what a value belongs to, and so what its keys mean.
type mode int

const (
	builtin mode = iota // an object of Kubernetes itself: only PodSpecs hold images
	custom              // a custom resource: image keys hold images
	data                // anything else: values, configuration
)

const (
	maxNodes   = 500_000 // of one document: aliases cannot make more work than that
	maxNesting = 100     // mappings and sequences in each other
	maxText    = 3       // documents inside scalars of documents
)

// walker looks through one document. Lines it emits are those of the file.
type walker struct {
	emit func(finding)
	warn func(line int, message string)
	fail func(line int, message string) // of what may hide images; nil: it does not matter
	// doubt takes an error that is none where something else names the image: text as it stands, and what is known of it.
	doubt  func(line int, message, text, known string)
	lineOf func(line int) int // from a line of the document to one of the file
	env    map[string]string  // for templates inside ConfigMaps
	demote string             // why everything is suspected only; empty: it is not
	texts  int                // how deep in scalars this document lies
	// appVersion is the tag of the chart's own images where it is left out; empty: none. chartName tells which are its own.
	appVersion, chartName string
	patched               bool  // what is empty may not be at the site
	quiet                 bool  // of text that says nothing about what will happen
	test                  bool  // the object is for "helm test" only
	named                 bool  // what the text stands under says image
	scope                 scope // what mappings further out say

	seen   map[*yaml.Node]bool // taken by a structural rule, or walked through an alias
	budget int
}

func (w *walker) run(root *yaml.Node, m mode) {
	w.seen, w.budget = map[*yaml.Node]bool{}, maxNodes
	w.node(root, "", m, 0)
	if w.budget <= 0 && w.fail != nil {
		w.fail(w.line(root), "document too large: the rest of it is not searched for images")
	}
}

func (w *walker) line(n *yaml.Node) int {
	if n == nil || n.Line == 0 {
		return 0
	}
	return w.lineOf(n.Line)
}

// report emits one reference found at a node.
func (w *walker) report(ref string, at *yaml.Node, c Certainty, reason string) {
	if w.demote != "" && c == Certain {
		c, reason = Suspected, reason+" "+w.demote
	}
	w.emit(finding{text: trimRef(ref), line: w.line(at), certainty: c, reason: reason, test: w.test})
}

// node dispatches on kind; key is the one the value stands under.
func (w *walker) node(n *yaml.Node, key string, m mode, depth int) {
	if n == nil || depth > maxNesting || w.budget <= 0 {
		return
	}
	w.budget--
	switch n.Kind {
	case yaml.AliasNode:
		// The anchor is walked where it stands; here it may mean more.
		if n.Alias != nil && !w.seen[n.Alias] {
			w.seen[n.Alias] = true
			w.node(n.Alias, key, m, depth+1)
		}
	case yaml.SequenceNode:
		w.sequence(n, key, m, depth)
	case yaml.MappingNode:
		w.mapping(n, key, m, depth)
	case yaml.ScalarNode:
		if !w.seen[n] {
			w.scalar(n, key, m)
		}
	}
}

func (w *walker) sequence(n *yaml.Node, key string, m mode, depth int) {
	if strings.HasSuffix(strings.ToLower(key), "env") {
		w.envPieces(n)
	}
	if isArguments(key) {
		w.arguments(n, key)
		return
	}
	for _, item := range n.Content {
		if item.Kind == yaml.ScalarNode && m != builtin && isImageListKey(key) {
			w.imageKey(item, key, m)
			continue
		}
		if strings.HasSuffix(flatKey(key), "images") {
			w.node(item, "image", m, depth+1) // {name, image} or {repository, tag}, not a map of names
			continue
		}
		w.node(item, key, m, depth+1)
	}
}

func (w *walker) mapping(n *yaml.Node, key string, m mode, depth int) {
	if apiVersion, kind := text(get(n, "apiVersion")), text(get(n, "kind")); apiVersion != "" && kind != "" {
		m = modeOf(apiVersion)
		switch {
		case kind == "CustomResourceDefinition":
			w.schemaDefaults(n, "", depth)
			return
		case m == builtin && (kind == "ConfigMap" || kind == "Secret"):
			w.configMap(n)
			return
		case kind == "Kustomization":
			w.kustomization(n)
			return
		case kind == "ClusterConfiguration" && strings.HasPrefix(apiVersion, "kubeadm.k8s.io/"):
			w.kubeadm(n)
		}
		if isHelmTest(n) {
			inner := *w
			inner.demote, inner.test = "of a Helm test", true
			inner.children(n, key, m, depth)
			w.budget = inner.budget
			return
		}
	}
	w.podSpec(n, m)
	if list := get(n, "env"); list != nil && list.Kind == yaml.SequenceNode { // of a container, or of what makes some
		around := w.env
		w.env = w.envOf(list)
		defer func() { w.env = around }()
	}
	w.envVar(n)
	if m == builtin {
		w.children(n, key, m, depth)
		return
	}
	outer := *w
	if isOff(n) && w.demote == "" && m == custom {
		w.demote = "of an operand that is off"
	}
	w.split(n, key, m)
	w.scope = w.scopeOf(n, w.scope)
	w.children(n, key, m, depth)
	w.scope, w.demote = outer.scope, outer.demote
}

// isOff tells whether a mapping says of itself that it is not enabled.
func isOff(n *yaml.Node) bool {
	for _, key := range []string{"enabled", "enable"} {
		if v := get(n, key); v != nil && v.Tag == "!!bool" && v.Value == "false" {
			return true
		}
	}
	return false
}

func (w *walker) children(n *yaml.Node, key string, m mode, depth int) {
	for name, v := range pairs(n) {
		k := name.Value
		switch {
		case w.seen[v]:
		case k == "annotations":
			w.annotations(v)
		case k == "status" && depth < 2, k == "managedFields", k == "labels", k == "matchLabels", k == "description":
			// Written by controllers, or never an image.
		case name.Tag == "!!merge":
			w.node(v, "", m, depth+1)
		case m != builtin && v.Kind == yaml.ScalarNode && strings.HasSuffix(flatKey(key), "images") && !isSetting(k) && (prefixKey(k) == noPrefix || sureRef(text(v))):
			w.imageKey(v, key+"."+k, m)
		default:
			w.node(v, k, m, depth+1)
		}
	}
}

// annotations hold images only under keys that say so.
func (w *walker) annotations(n *yaml.Node) {
	for name, v := range pairs(n) {
		key := name.Value
		if s, ok := shapeOf(text(v)); ok && s.pinned() && isImageKey(key[strings.LastIndexByte(key, '/')+1:]) {
			w.report(v.Value, v, Suspected, "annotation "+key)
		}
	}
}

// schemaDefaults searches a CustomResourceDefinition: its schema describes images and names them only as defaults.
func (w *walker) schemaDefaults(n *yaml.Node, property string, depth int) {
	n = resolve(n)
	if n == nil || depth > maxNesting || w.budget <= 0 {
		return
	}
	w.budget--
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode {
			w.schemaDefaults(c, property, depth+1)
			continue
		}
		if i%2 == 0 {
			continue
		}
		switch key := n.Content[i-1].Value; {
		case key == "default" && c.Kind == yaml.ScalarNode:
			if s, ok := shapeOf(c.Value); ok && (strict(c.Value) || isImageKey(property) && s.explicit()) {
				w.report(c.Value, c, Suspected, "default of "+property+" in a CustomResourceDefinition")
			}
		case key == "default":
			w.node(c, property, data, depth+1)
		case c.Kind == yaml.MappingNode && key != "properties" && key != "items":
			w.schemaDefaults(c, key, depth+1)
		default:
			w.schemaDefaults(c, property, depth+1)
		}
	}
}

// isHelmTest tells whether an object is made by "helm test" only, never by an install.
func isHelmTest(n *yaml.Node) bool {
	hook := text(get(get(get(n, "metadata"), "annotations"), "helm.sh/hook"))
	for h := range strings.SplitSeq(hook, ",") {
		switch strings.TrimSpace(h) {
		case "test", "test-success", "test-failure":
		default:
			return false
		}
	}
	return hook != ""
}

// modeOf tells Kubernetes' own objects from custom resources.
func modeOf(apiVersion string) mode {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return builtin // v1
	}
	switch group {
	case "apps", "batch", "autoscaling", "policy", "extensions",
		"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apiserver.config.k8s.io",
		"apiserver.k8s.io", "audit.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io",
		"coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io",
		"internal.apiserver.k8s.io", "kubeadm.k8s.io", "kubelet.config.k8s.io", "kubeproxy.config.k8s.io",
		"networking.k8s.io", "node.k8s.io", "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io",
		"storage.k8s.io", "storagemigration.k8s.io":
		return builtin
	}
	return custom
}
