package oldpackage

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
)

// configNames are what packages call kubeadm's configuration, in conf/.
var configNames = [...]string{"kubeadm.yaml", "kubeadm-config.yaml", "kubeadm.yml"}

// kubeadmAPIs are those whose documents the installer lays over its own.
var kubeadmAPIs = [...]string{
	"kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4", "kubelet.config.k8s.io/v1beta1", "kubeproxy.config.k8s.io/v1alpha1",
}

// readKubeadm takes kubeadm's configuration over, as far as the installer can lay it over its own.
func (p *reader) readKubeadm() {
	taken := ""
	for _, name := range configNames {
		file := "conf/" + name
		text, ok := p.text(file)
		switch {
		case !ok:
		case taken != "":
			p.note("%s has no meaning any more: %s is taken", file, taken)
		default:
			taken = file
			p.config = p.kubeadmDocuments(file, text)
		}
	}
	for _, name := range configNames {
		if _, ok := p.text("conf/" + name + ".tmpl"); ok {
			p.note("conf/%s.tmpl has no meaning any more: it is a template of the former installer; what it sets belongs into a Clusterfile", name)
		}
	}
}

// kubeadmDocuments gives the documents that count, written again without what is wrong by now.
func (p *reader) kubeadmDocuments(file, text string) string {
	var out bytes.Buffer
	w := yaml.NewEncoder(&out)
	w.SetIndent(2)
	in := yaml.NewDecoder(strings.NewReader(text))
	kept := 0
	for {
		var doc map[string]any
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.note("%s has no meaning any more: it is no YAML (%v); what it sets belongs into a Clusterfile", file, err)
			return ""
		}
		if doc == nil {
			continue
		}
		api, _ := doc["apiVersion"].(string)
		kind, _ := doc["kind"].(string)
		if !slices.Contains(kubeadmAPIs[:], api) {
			p.note("%s: the %s of %s has no meaning any more: what it sets belongs into a Clusterfile", file, kind, api)
			continue
		}
		if driver, ok := doc["cgroupDriver"].(string); ok && kind == "KubeletConfiguration" {
			p.cgroupDriver = driver
		}
		if v, ok := doc["kubernetesVersion"].(string); ok && kind == "ClusterConfiguration" {
			p.version = v
		}
		if node, ok := doc["nodeRegistration"].(map[string]any); ok && node["criSocket"] != nil {
			p.note("%s: the criSocket %v has no meaning any more: kubelet is led to containerd", file, node["criSocket"])
			delete(node, "criSocket")
		}
		if err := w.Encode(doc); err != nil {
			p.note("%s has no meaning any more: %v", file, err)
			return ""
		}
		kept++
	}
	if kept == 0 {
		return ""
	}
	return out.String()
}

// ofKubernetes are the images that Kubernetes itself is made of.
var ofKubernetes = [...]string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "pause", "etcd"}

// readImages lists the images of Kubernetes in the archives.
func (p *reader) readImages() error {
	found, err := scan.Dir(p.ctx, p.dir, nil, scan.Options{})
	if err != nil {
		return err
	}
	for _, a := range found.Archives {
		refs := []string{a.Ref}
		if a.Ref == "" {
			names, err := pull.ListArchive(pull.Archive{Transport: a.Transport, Path: p.path(a.Path)}, p.sys)
			if err != nil {
				p.problem("%v", err)
				continue
			}
			refs = refs[:0]
			for _, n := range names {
				refs = append(refs, n.Ref)
			}
		}
		for _, ref := range refs {
			name, _, _ := strings.Cut(path.Base(ref), ":")
			if slices.Contains(ofKubernetes[:], name) && !slices.Contains(p.images, ref) {
				p.images = append(p.images, ref)
			}
		}
	}
	slices.Sort(p.images)
	if len(p.images) == 0 {
		p.note("images/ holds no image of Kubernetes: what kubeadm asks for has to come with other images, or from a list in images/shim")
	}
	return nil
}

// readVersion finds the version of Kubernetes: Metadata tells it, else kubeadm's configuration, else the images.
func (p *reader) readVersion() {
	p.lost["Metadata"] = "the version in it becomes a label"
	var meta struct {
		Version string `json:"k8sVersion"`
	}
	if raw, ok := p.text("Metadata"); ok && json.Unmarshal([]byte(raw), &meta) == nil && meta.Version != "" {
		p.version = meta.Version
	}
	if p.version == "" {
		p.version = p.templateVersion()
	}
	var tags []string
	for _, ref := range p.images {
		if name, tag, ok := strings.Cut(path.Base(ref), ":"); ok && name == "kube-apiserver" {
			tags = append(tags, tag)
		}
	}
	if p.version == "" && len(tags) > 0 {
		p.version = tags[len(tags)-1]
	}
	given := p.version
	if given != "" {
		p.version = "v" + strings.TrimPrefix(p.version, "v")
	}
	switch {
	case p.version == "":
		p.problem("nothing tells the version of Kubernetes, neither Metadata nor conf/kubeadm.yaml nor an image kube-apiserver: write {\"k8sVersion\": \"v1.36.3\"} into Metadata")
	case !versionShape.MatchString(p.version):
		p.problem("%q is no version of Kubernetes: write {\"k8sVersion\": \"v1.36.3\"} into Metadata", given)
	case minor(p.version) < oldestMinor:
		p.problem("Kubernetes %s is older than v1.%d, the oldest that sealinstall installs: take a package of a newer one", p.version, oldestMinor)
	case len(tags) > 0 && !slices.Contains(tags, p.version):
		p.problem("the package is of Kubernetes %s, and images/ holds kube-apiserver %s: put the images of %s there", p.version, strings.Join(tags, ", "), p.version)
	}
}

var versionShape = regexp.MustCompile(`^v1\.([0-9]{1,4})\.[0-9]+([-+.].*)?$`)

// oldestMinor is the oldest Kubernetes, 1.22, that installer/kubeadm knows how to tell what to do.
const oldestMinor = 22

func minor(version string) int {
	n, _ := strconv.Atoi(versionShape.FindStringSubmatch(version)[1])
	return n
}

var versionLine = regexp.MustCompile(`(?m)^kubernetesVersion:\s*["']?(v?[0-9][^\s"']*)`)

// templateVersion is the version that a configuration names which is no YAML, or of a version that is not taken.
func (p *reader) templateVersion() string {
	for _, name := range configNames {
		for _, end := range []string{"", ".tmpl"} {
			text, _ := p.text("conf/" + name + end)
			if found := versionLine.FindStringSubmatch(text); found != nil {
				return found[1]
			}
		}
	}
	return ""
}
