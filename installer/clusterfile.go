package installer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// APIVersion is the group and version of Clusterfile documents, as sealos has it.
const APIVersion = "apps.sealos.io/v1beta1"

// Phases of status.phase.
const (
	PhaseInProcess = "ClusterInProcess"
	PhaseSuccess   = "ClusterSuccess"
	PhaseFailed    = "ClusterFailed"
)

// Bounds of a Clusterfile, in bytes and in documents.
const (
	MaxClusterfile = 4 << 20
	maxDocuments   = 256
)

// Config lays data over one file of the cluster images before templates are rendered.
type Config struct {
	Name     string
	Match    string // exact image name; empty = every image that has the path
	Path     string // relative to the image's root
	Strategy string // merge | insert | append | override (default)
	Data     string
}

// ParseClusterfile reads the documents of a Clusterfile in any order: at most one Cluster, any number of Config and of kubeadm,
// kubelet and kube-proxy documents. Everything wrong is reported with file, line and column (a *FieldError), not the first
// thing only. The Cluster that comes back is not yet completed; with no Cluster document it has no hosts. Each element of its
// Kubeadm begins with as many line breaks as bring it to its line in the file.
func ParseClusterfile(name string, data []byte) (*Cluster, error) {
	if len(data) > MaxClusterfile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxClusterfile)
	}
	p := parser{file: name, c: &Cluster{Env: map[string]string{}}}
	line, docs := 1, 0
	var errs []error
	for _, doc := range splitDocuments(data) {
		start := line
		line += bytes.Count(doc, []byte("\n"))
		if blank(doc) {
			continue
		}
		if docs++; docs > maxDocuments {
			return nil, fmt.Errorf("%s: more than %d documents", name, maxDocuments)
		}
		// Leading line breaks keep the numbers of error messages those of the file.
		padded := append(bytes.Repeat([]byte("\n"), start-1), doc...)
		if err := p.document(padded); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 && bytes.Contains(data, []byte("{{")) {
		errs = append(errs, fmt.Errorf("%s holds {{: if it is a template, give it values with --values or --set", name))
	}
	return p.c, errors.Join(errs...)
}

// parser reads the documents of one file into a cluster.
type parser struct {
	file        string
	c           *Cluster
	haveCluster bool
}

// syntax gives an error of the YAML reader the form of the others.
func (p *parser) syntax(err error) error {
	text, place := strings.TrimPrefix(err.Error(), "yaml: "), p.file
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if n, message, ok := strings.Cut(rest, ": "); ok {
			text, place = message, p.file+":"+n
		}
	}
	if strings.Contains(text, "cannot start any token") {
		text = "a character stands where a value or a space was expected; YAML is indented with spaces, not with tabs"
	}
	return fmt.Errorf("%s: it is no YAML: %s", place, text)
}

func (p *parser) fail(n *yaml.Node, format string, args ...any) error {
	return &FieldError{p.file, n.Line, n.Column, fmt.Sprintf(format, args...)}
}

func (p *parser) document(padded []byte) error {
	var stream yaml.Node
	if err := yaml.Unmarshal(padded, &stream); err != nil {
		return p.syntax(err)
	}
	if len(stream.Content) != 1 {
		return fmt.Errorf("%s: a document without content", p.file)
	}
	doc := stream.Content[0]
	if doc.Kind != yaml.MappingNode {
		return p.fail(doc, "a document that is no map: expected apiVersion and kind")
	}
	version, kind := child(doc, "apiVersion"), child(doc, "kind")
	group, _, _ := strings.Cut(version.Value, "/")
	switch {
	case version.Value == APIVersion && kind.Value == "Cluster":
		if p.haveCluster {
			return p.fail(doc, "a second Cluster document")
		}
		p.haveCluster = true
		return p.cluster(doc)
	case version.Value == APIVersion && kind.Value == "Config":
		return p.config(doc)
	case slices.Contains(kubeadmGroups, group):
		p.c.Kubeadm = append(p.c.Kubeadm, padded)
		return nil
	case version.Value == APIVersion:
		return p.fail(kind, "unknown kind %q%s", kind.Value, DidYouMean(kind.Value, []string{"Cluster", "Config"}))
	}
	known := append([]string{APIVersion}, kubeadmGroups...)
	return p.fail(version, "unknown document apiVersion %q kind %q%s", version.Value, kind.Value, DidYouMean(version.Value, known))
}

// kubeadmGroups are the API groups whose documents are handed to kubeadm.
var kubeadmGroups = []string{"kubeadm.k8s.io", "kubelet.config.k8s.io", "kubeproxy.config.k8s.io"}

// child gives the value at a path of keys. Where a key is missing it gives an empty node at the place of the map that lacks it.
func child(m *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		found := false
		for i := 0; i+1 < len(m.Content) && m.Kind == yaml.MappingNode; i += 2 {
			if m.Content[i].Value == key {
				m, found = m.Content[i+1], true
				break
			}
		}
		if !found {
			return &yaml.Node{Line: m.Line, Column: m.Column}
		}
	}
	return m
}

// item gives an element of a list, or the list itself where it has not so many.
func item(list *yaml.Node, i int) *yaml.Node {
	if i < len(list.Content) {
		return list.Content[i]
	}
	return list
}

func (p *parser) config(doc *yaml.Node) error {
	var d configDoc
	if err := decode(p.file, doc, &d); err != nil {
		return err
	}
	strategies := []string{"merge", "insert", "append", "override"}
	if s := d.Spec.Strategy; s != "" && !slices.Contains(strategies, s) {
		return p.fail(child(doc, "spec", "strategy"), "Config %q: strategy %q%s", d.Metadata.Name, s, DidYouMean(s, strategies))
	}
	if d.Spec.Path == "" {
		return p.fail(child(doc, "spec"), "Config %q: spec.path is empty", d.Metadata.Name)
	}
	p.c.Configs = append(p.c.Configs, Config{Name: d.Metadata.Name, Match: d.Spec.Match, Path: d.Spec.Path, Strategy: d.Spec.Strategy, Data: d.Spec.Data})
	return nil
}

// splitDocuments cuts at lines that begin with "---". Every line of the input
// is in exactly one piece, so that line numbers can be counted.
func splitDocuments(data []byte) [][]byte {
	var docs [][]byte
	var cur []byte
	for line := range bytes.SplitAfterSeq(data, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("---")) {
			docs = append(docs, cur)
			// Not the separator: it would end the padded document before it begins.
			cur = []byte("\n")
			continue
		}
		cur = append(cur, line...)
	}
	return append(docs, cur)
}

func blank(doc []byte) bool {
	for line := range bytes.SplitSeq(doc, []byte("\n")) {
		t := bytes.TrimSpace(line)
		if len(t) > 0 && t[0] != '#' {
			return false
		}
	}
	return true
}

func (p *parser) cluster(doc *yaml.Node) error {
	var d clusterDoc
	if err := decode(p.file, doc, &d); err != nil {
		return err
	}
	c := p.c
	c.Name, c.Images, c.Command = d.Metadata.Name, d.Spec.Image, d.Spec.Command
	c.Labels, c.Annotations = d.Metadata.Labels, d.Metadata.Annotations
	if d.Status != nil {
		c.Status = *d.Status
	}
	if t, err := time.Parse(time.RFC3339, d.Metadata.CreationTimestamp); err == nil {
		c.Created = t
	}
	var errs []error
	var err error
	if c.SSH, err = d.Spec.SSH.value(); err != nil {
		errs = append(errs, p.fail(child(doc, "spec", "ssh"), "spec.%v", err))
	}
	env := child(doc, "spec", "env")
	for i, kv := range d.Spec.Env {
		if err := addEnv(c.Env, kv); err != nil {
			errs = append(errs, p.fail(item(env, i), "spec.env: %v", err))
		}
	}
	hosts := child(doc, "spec", "hosts")
	for i, h := range d.Spec.Hosts {
		list, err := h.hosts()
		if err != nil {
			errs = append(errs, p.fail(item(hosts, i), "spec.hosts[%d]: %v", i, err))
		}
		c.Hosts = append(c.Hosts, list...)
	}
	return errors.Join(errs...)
}

func (s sshDoc) value() (SSH, error) {
	if s.PKData != "" {
		return SSH{}, errors.New("ssh.pkData: a private key inside a Clusterfile is not read; put it into a file and name it in ssh.pk")
	}
	return SSH{User: s.User, Password: s.Passwd, KeyFile: s.PK, KeyPassphrase: s.PKPasswd, Port: s.Port, Jump: s.Jump}, nil
}

func roleHint(roles []string) string {
	if len(roles) == 0 {
		return ""
	}
	return DidYouMean(roles[0], []string{"master", "node"})
}

func (h hostDoc) hosts() ([]Host, error) {
	master := slices.Contains(h.Roles, "master")
	if !master && !slices.Contains(h.Roles, "node") {
		return nil, fmt.Errorf("roles %v: expected master or node%s", h.Roles, roleHint(h.Roles))
	}
	env, err := ParseEnv(h.Env)
	if err != nil {
		return nil, err
	}
	var own SSH
	if h.SSH != nil {
		if own, err = h.SSH.value(); err != nil {
			return nil, err
		}
	}
	addrs, err := ParseAddresses(strings.Join(h.IPs, ","))
	if err != nil {
		return nil, err
	}
	var out []Host
	for _, a := range addrs {
		s := own
		if a.Port != 0 {
			s.Port = a.Port
		}
		out = append(out, Host{IP: a.IP, Master: master, SSH: s, Env: env, Tunnel: a.Tunnel()})
	}
	return out, nil
}

// ParseEnv reads KEY=VALUE items. Keys that begin with SEALOS_SYS are the installer's own and refused.
func ParseEnv(items []string) (map[string]string, error) {
	env := map[string]string{}
	var errs []error
	for _, item := range items {
		if err := addEnv(env, item); err != nil {
			errs = append(errs, err)
		}
	}
	return env, errors.Join(errs...)
}

func addEnv(env map[string]string, item string) error {
	k, v, ok := strings.Cut(item, "=")
	switch {
	case !ok || k == "":
		return fmt.Errorf("env %q: expected KEY=VALUE", k)
	case strings.HasPrefix(k, "SEALOS_SYS"):
		return fmt.Errorf("env %s: names beginning with SEALOS_SYS are set by the installer", k)
	}
	env[k] = v
	return nil
}
