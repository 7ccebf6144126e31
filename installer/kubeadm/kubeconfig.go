package kubeadm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
)

// KubeconfigEntries are the names of a cluster's entries in the kubeconfig of a user, and the context that was current before.
type KubeconfigEntries struct {
	Cluster  string `json:"cluster"`
	User     string `json:"user"`
	Context  string `json:"context"`
	Previous string `json:"previous,omitempty"`
}

// maxKubeconfig bounds a kubeconfig, in bytes. kubectl itself has no limit.
const maxKubeconfig = 8 << 20

// MergeKubeconfig adds the one cluster of admin, a kubeconfig that kubeadm or this installer has made, to the kubeconfig of a
// user, and makes it the current one. All else in the file stays, comments and unknown fields too. If the file has one of the
// names for another cluster, the new entries get names with the name of the cluster in them. An empty file is no error.
func MergeKubeconfig(file, admin []byte, cluster string) (merged []byte, e KubeconfigEntries, err error) {
	ours, err := parseKubeconfig(admin)
	if err != nil {
		return nil, e, fmt.Errorf("the cluster's own kubeconfig: %w", err)
	}
	if e, err = ours.only(); err != nil {
		return nil, e, fmt.Errorf("the cluster's own kubeconfig: %w", err)
	}
	theirs, err := parseKubeconfig(file)
	if err != nil {
		return nil, e, err
	}
	for n, base := 1, e; theirs.names(e); n++ {
		e = base.renamed(cluster, n)
	}
	e.Previous = scalar(theirs.root, currentContext)
	for _, l := range entryLists() {
		entry := ours.lists[l.key].Content[0]
		setScalar(entry, "name", l.name(e))
		if l.key == contexts {
			inner := valueNode(entry, l.body)
			setScalar(inner, "cluster", e.Cluster)
			setScalar(inner, "user", e.User)
		}
		theirs.lists[l.key].Content = append(theirs.lists[l.key].Content, entry)
	}
	for _, key := range []string{"apiVersion", "kind"} {
		if scalar(theirs.root, key) == "" {
			setScalar(theirs.root, key, scalar(ours.root, key))
		}
	}
	setScalar(theirs.root, currentContext, e.Context)
	merged, err = theirs.bytes()
	return merged, e, err
}

// RenewKubeconfig sets server and keys of a cluster's entries to those of admin. has is false if the file has no such entries;
// the file is returned as it is then.
func RenewKubeconfig(file, admin []byte, e KubeconfigEntries) (renewed []byte, has bool, err error) {
	theirs, err := parseKubeconfig(file)
	if err != nil {
		return nil, false, err
	}
	ours, err := parseKubeconfig(admin)
	if err != nil {
		return nil, false, fmt.Errorf("the cluster's own kubeconfig: %w", err)
	}
	if _, err := ours.only(); err != nil {
		return nil, false, fmt.Errorf("the cluster's own kubeconfig: %w", err)
	}
	changed := false
	for _, l := range entryLists() {
		entry := theirs.entry(l.key, l.name(e))
		if l.key == contexts {
			continue // the user may have set a namespace there
		}
		if entry == nil {
			return file, false, nil
		}
		inner := valueNode(ours.lists[l.key].Content[0], l.body)
		for i := 0; i+1 < len(inner.Content); i += 2 {
			if scalar(valueNode(entry, l.body), inner.Content[i].Value) != inner.Content[i+1].Value {
				changed = true
				setScalar(valueNode(entry, l.body), inner.Content[i].Value, inner.Content[i+1].Value)
			}
		}
	}
	if !changed {
		return file, true, nil
	}
	renewed, err = theirs.bytes()
	return renewed, true, err
}

// UnmergeKubeconfig removes the entries of a cluster from a kubeconfig, which its user may have changed since. The context that
// was current before is current again, unless the user has chosen another. empty tells that nothing of a user is left in the
// file.
func UnmergeKubeconfig(file []byte, e KubeconfigEntries) (rest []byte, empty bool, err error) {
	k, err := parseKubeconfig(file)
	if err != nil {
		return nil, false, err
	}
	gone := map[string]bool{e.Context: true}
	if k.entry(contexts, e.Context) == nil {
		// The user has renamed it: a context with our cluster and our user is ours.
		for _, c := range k.lists[contexts].Content {
			inner := valueNode(c, "context")
			if scalar(inner, "cluster") == e.Cluster && scalar(inner, "user") == e.User {
				gone[scalar(c, "name")] = true
			}
		}
	}
	left, changed := 0, gone[scalar(k.root, currentContext)]
	for _, l := range entryLists() {
		list := k.lists[l.key]
		before := len(list.Content)
		list.Content = slices.DeleteFunc(list.Content, func(entry *yaml.Node) bool {
			name := scalar(entry, "name")
			return l.key == contexts && gone[name] || l.key != contexts && name == l.name(e)
		})
		left += len(list.Content)
		changed = changed || len(list.Content) < before
	}
	if !changed {
		return file, left == 0 && k.bare(), nil
	}
	if current := scalar(k.root, currentContext); gone[current] {
		previous := e.Previous
		if k.entry(contexts, previous) == nil {
			previous = ""
		}
		setScalar(k.root, currentContext, previous)
	}
	rest, err = k.bytes()
	return rest, left == 0 && k.bare(), err
}

const (
	contexts       = "contexts"
	currentContext = "current-context"
)

// entryList describes one list of a kubeconfig: its key, the key of the content of its entries, and which of the names they have.
type entryList struct {
	key, body string
	name      func(KubeconfigEntries) string
}

func entryLists() []entryList {
	return []entryList{
		{"clusters", "cluster", func(e KubeconfigEntries) string { return e.Cluster }},
		{"users", "user", func(e KubeconfigEntries) string { return e.User }},
		{contexts, "context", func(e KubeconfigEntries) string { return e.Context }},
	}
}

// renamed gives other names, with the name of the cluster and, from the second try on, a number.
func (e KubeconfigEntries) renamed(cluster string, n int) KubeconfigEntries {
	if n > 1 {
		cluster = fmt.Sprintf("%s-%d", cluster, n)
	}
	name := e.User + "@" + cluster
	return KubeconfigEntries{Cluster: cluster, User: name, Context: name}
}

// kubeconfig is a kubeconfig as YAML nodes, so that all that is not changed stays as it is written.
type kubeconfig struct {
	doc, root *yaml.Node
	lists     map[string]*yaml.Node
}

func parseKubeconfig(data []byte) (kubeconfig, error) {
	k := kubeconfig{doc: &yaml.Node{}, lists: map[string]*yaml.Node{}}
	if len(data) > maxKubeconfig {
		return k, fmt.Errorf("it is larger than %d bytes", maxKubeconfig)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(k.doc); err != nil && !errors.Is(err, io.EOF) {
		return k, fmt.Errorf("it is no YAML: %w", err)
	}
	if dec.Decode(&yaml.Node{}) == nil {
		return k, errors.New("it holds several documents")
	}
	if len(k.doc.Content) == 0 || k.doc.Content[0].Tag == "!!null" {
		k.doc.Kind, k.doc.Content = yaml.DocumentNode, []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}
	}
	k.root = k.doc.Content[0]
	if k.root.Kind != yaml.MappingNode {
		return k, errors.New("it is no map of clusters, users and contexts")
	}
	if hasAlias(k.doc) {
		return k, errors.New("it has anchors and aliases, which kubectl would not keep either")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(k.root.Content); i += 2 {
		key := k.root.Content[i].Value
		if seen[key] {
			return k, fmt.Errorf("it has %q twice", key)
		}
		seen[key] = true
	}
	for _, l := range entryLists() {
		list, err := k.list(l)
		if err != nil {
			return k, err
		}
		k.lists[l.key] = list
	}
	return k, nil
}

// list finds a list, or makes it.
func (k kubeconfig) list(l entryList) (*yaml.Node, error) {
	list := valueNode(k.root, l.key)
	switch {
	case list == nil:
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		k.root.Content = append(k.root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: l.key}, list)
	case list.Tag == "!!null":
		list.Kind, list.Tag, list.Value = yaml.SequenceNode, "!!seq", ""
	case list.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("its %s are no list", l.key)
	}
	if len(list.Content) == 0 {
		list.Style = 0 // else a list that is written [] would stay on one line
	}
	for _, entry := range list.Content {
		if scalar(entry, "name") == "" {
			return nil, fmt.Errorf("one of its %s has no name", l.key)
		}
	}
	return list, nil
}

// only gives the names of the entries of a kubeconfig that must have exactly one cluster, user and context.
func (k kubeconfig) only() (KubeconfigEntries, error) {
	var e KubeconfigEntries
	for _, l := range entryLists() {
		if len(k.lists[l.key].Content) != 1 || valueNode(k.lists[l.key].Content[0], l.body) == nil {
			return e, fmt.Errorf("it has %d %s instead of one", len(k.lists[l.key].Content), l.key)
		}
	}
	name := func(key string) string { return scalar(k.lists[key].Content[0], "name") }
	return KubeconfigEntries{Cluster: name("clusters"), User: name("users"), Context: name(contexts)}, nil
}

// names tells whether the kubeconfig has an entry of one of the names.
func (k kubeconfig) names(e KubeconfigEntries) bool {
	return slices.ContainsFunc(entryLists(), func(l entryList) bool { return k.entry(l.key, l.name(e)) != nil })
}

func (k kubeconfig) entry(list, name string) *yaml.Node {
	for _, entry := range k.lists[list].Content {
		if scalar(entry, "name") == name {
			return entry
		}
	}
	return nil
}

// bare tells whether the file has nothing beside its lists but what every kubeconfig has.
func (k kubeconfig) bare() bool {
	for i := 0; i+1 < len(k.root.Content); i += 2 {
		switch key, value := k.root.Content[i].Value, k.root.Content[i+1]; key {
		case "apiVersion", "kind", "clusters", "users", contexts:
		default:
			if value.Value != "" || len(value.Content) > 0 {
				return false
			}
		}
	}
	return true
}

func (k kubeconfig) bytes() ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	spellNull(k.doc)
	if err := enc.Encode(k.doc); err != nil {
		return nil, fmt.Errorf("write the kubeconfig: %w", err)
	}
	return buf.Bytes(), enc.Close()
}

// spellNull writes null where a value was left empty: the encoder would make an empty text of it.
func spellNull(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "" {
		n.Value = "null"
	}
	for _, c := range n.Content {
		spellNull(c)
	}
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || slices.ContainsFunc(n.Content, hasAlias)
}

// valueNode gives the value of a key in a map, nil if there is none.
func valueNode(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func scalar(m *yaml.Node, key string) string {
	if v := valueNode(m, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

// setScalar sets the value of a key in a map to a text.
func setScalar(m *yaml.Node, key, value string) {
	if m == nil || m.Kind != yaml.MappingNode {
		return
	}
	node := &yaml.Node{}
	node.SetString(value)
	if old := valueNode(m, key); old != nil {
		old.Kind, old.Tag, old.Value, old.Style, old.Content = node.Kind, node.Tag, node.Value, node.Style, nil
		return
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, node)
}
