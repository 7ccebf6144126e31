package scan

import (
	"fmt"
	"maps"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// podSpec takes the images of a PodSpec, wherever the mapping is embedded: every list of containers and every image volume.
func (w *walker) podSpec(m *yaml.Node, md mode) {
	if text(get(get(m, "nodeSelector"), "kubernetes.io/os")) == "windows" {
		inner := *w
		inner.demote = "for Windows nodes"
		w = &inner
	}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, item := range items(get(m, list)) {
			image := get(item, "image")
			if image == nil || image.Kind != yaml.ScalarNode || w.seen[image] {
				continue
			}
			w.seen[image] = true
			w.containerImage(image, md, list, text(get(item, "name")))
		}
	}
	for _, volume := range items(get(m, "volumes")) {
		ref := get(get(volume, "image"), "reference")
		if ref != nil && ref.Kind == yaml.ScalarNode && !w.seen[ref] {
			w.seen[ref] = true
			w.containerImage(ref, md, "volumes", text(get(volume, "name")))
		}
	}
}

// containerImage takes what a container names; what cannot be a reference hides an image.
func (w *walker) containerImage(n *yaml.Node, md mode, list, name string) {
	value := w.expanded(text(n))
	switch {
	case value == "" && (md != builtin || w.patched):
		return // a controller has an image of its own for it, or the missing value was told
	case value == "":
		w.warn(w.line(n), fmt.Sprintf("%s of container %s: its image is empty: where something fills it in on the site, list the image in images/shim", list, name))
		return
	case value == "auto":
		w.warn(w.line(n), "image: auto is filled in on the site: list the image in images/shim")
		return
	case strings.Contains(value, unresolved):
		w.unresolved(n, value, true)
		return
	}
	if _, err := Normalize(value); err != nil {
		w.unnamed(n, value, fmt.Sprintf("%s of container %s: %v: name the image, or list it in images/shim and put this text into %s", list, name, err, IgnoreFile))
		return
	}
	w.report(value, n, Certain, "image of "+strings.TrimSuffix(list, "s")+" "+name)
}

// expanded gives a value with the variables that the Kubefile or the script around it sets; others become the unresolved mark.
func (w *walker) expanded(value string) string {
	value = templateAction.ReplaceAllString(value, unresolved)
	if !strings.Contains(value, "$") || strings.ContainsAny(value, " \n") {
		return value
	}
	return expandedText(value, w.env)
}

// unresolved tells of a reference that is made on the site. sure: the field is defined to hold an image.
func (w *walker) unresolved(n *yaml.Node, value string, sure bool) {
	repository, tag, ok := cutLast(value, ":")
	if s, is := shapeOf(repository); ok && is && s.path && !w.quiet && strings.Contains(tag, unresolved) {
		w.report(repository, n, Suspected, "image whose tag is added at run time")
	}
	known := strings.ReplaceAll(value, unresolved, "…")
	message := fmt.Sprintf("the image %q depends on a value that is not known: give it in the Kubefile's ENV or list the image in images/shim", known)
	if !strings.ContainsFunc(known, unicode.IsLetter) {
		message += " and put " + shown(text(n)) + " into " + IgnoreFile
	}
	if sure {
		w.unnamed(n, value, message)
	} else {
		w.warn(w.line(n), message)
	}
}

// unnamed tells of an image that is needed for sure and that nobody can name.
func (w *walker) unnamed(n *yaml.Node, value, message string) {
	if w.fail == nil || w.demote != "" || w.doubt == nil {
		w.warn(w.line(n), message)
	} else {
		w.doubt(w.line(n), message, text(n), value)
	}
}

// kustomization takes what a kustomization.yaml puts in place of images.
func (w *walker) kustomization(m *yaml.Node) {
	for _, item := range items(get(m, "images")) {
		name := text(get(item, "newName"))
		if name == "" {
			name = text(get(item, "name"))
		}
		ref := joinRef("", name, text(get(item, "newTag")), text(get(item, "digest")))
		if s, ok := shapeOf(ref); ok && s.pinned() {
			w.report(ref, item, Suspected, "images of a kustomization")
		}
	}
}

// envVar takes an env entry {name, value}, in any object. A variable that is called an image and names one in full is what its
// program will run; what else reads like an image is suspected.
func (w *walker) envVar(m *yaml.Node) {
	name, value := text(get(m, "name")), get(m, "value")
	if name == "" || value == nil || value.Kind != yaml.ScalarNode || w.seen[value] {
		return
	}
	w.seen[value] = true
	plain := w.expanded(strings.TrimSpace(text(value)))
	_, r := roleOf(name)
	if strings.Contains(plain, unresolved) && (isImageKey(name) || strings.HasPrefix(name, "RELATED_IMAGE_")) {
		w.unresolved(value, plain, true)
		return
	}
	if isImageVariable(name) && sureRef(plain) {
		w.report(plain, value, Certain, "env "+name)
		return
	}
	if s, ok := shapeOf(plain); ok && !s.pinned() && (r == imageRole && !isSetting(name) || r == repositoryRole && s.domain) {
		w.report(plain, value, Suspected, "env "+name+", its tag is added at run time")
		return
	}
	if r == repositoryRole {
		for word := range strings.SplitSeq(plain, ",") {
			if s, ok := shapeOf(word); ok && s.domain && !s.pinned() {
				w.report(word, value, Suspected, "env "+name+", its tag is added at run time")
			}
		}
	}
	if !strings.Contains(plain, unresolved) && plain != strings.TrimSpace(text(value)) {
		resolved := *value
		resolved.Value = plain
		value = &resolved
	}
	w.loose(value, "env "+name, strings.Contains(strings.ToLower(name), "image"))
}

// isImageVariable tells whether a variable is called an image: RELATED_IMAGE_X, IMAGE_X, X_IMAGE.
func isImageVariable(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasPrefix(upper, "RELATED_IMAGE_") || strings.HasPrefix(upper, "IMAGE_") || isImageKey(name)
}

// envOf gives the variables of a list as Kubernetes puts them into those after them, $(NAME), on top of those that are known.
func (w *walker) envOf(list *yaml.Node) map[string]string {
	around := w.env
	defer func() { w.env = around }()
	w.env = maps.Clone(around)
	if w.env == nil {
		w.env = map[string]string{}
	}
	for _, item := range list.Content {
		if name, value := text(get(item, "name")), get(item, "value"); name != "" && value != nil && len(text(value)) < maxRef {
			w.env[name] = w.expanded(text(value))
		}
	}
	return w.env
}

// envPieces puts together what variables beside each other say in pieces: X_IMAGE and X_TAG, X_REPOSITORY and X_VERSION.
func (w *walker) envPieces(list *yaml.Node) {
	var keys []string
	var values []*yaml.Node
	for _, item := range list.Content {
		if value := get(item, "value"); value != nil && value.Kind == yaml.ScalarNode {
			keys, values = append(keys, text(get(item, "name"))), append(values, value)
		}
	}
	groups := piecesOf(keys, values)
	for _, p := range groups {
		at, name := p.name()
		s, ok := shapeOf(name)
		registry, tag := p.text(registryRole), p.text(tagRole)
		if tag == "" {
			tag = p.text(versionRole)
		}
		for _, other := range groups {
			// A registry for all: REGISTRY, or APP_REGISTRY for APP_WORKER_IMAGE.
			if registry == "" && !s.domain && (other.prefix == "" || strings.HasPrefix(p.prefix, other.prefix+" ")) {
				registry = other.text(registryRole)
			}
			// A version of the same thing: ACME_DATABASE_IMAGE, DATABASE_VERSION.
			if tag == "" && other.prefix != "" && strings.HasSuffix(p.prefix, " "+other.prefix) {
				if tag = other.text(tagRole); tag == "" {
					tag = other.text(versionRole)
				}
			}
		}
		if !ok || s.pinned() || w.seen[at] || tag == "" && p.text(digestRole) == "" && registry == "" {
			continue
		}
		ref := joinRef(registry, name, tag, p.text(digestRole))
		if _, ok := shapeOf(ref); ok {
			for _, r := range []role{repositoryRole, imageRole} {
				if p.parts[r] != nil {
					w.seen[p.parts[r]] = true
				}
			}
			w.report(ref, at, Suspected, "env variables "+strings.ToUpper(p.prefix)+" …")
		}
	}
}

// kubeadm takes the images that kubeadm makes of its configuration: those of
// the control plane, and the DNS server and etcd where their tags are given.
func (w *walker) kubeadm(m *yaml.Node) {
	repository := text(get(m, "imageRepository"))
	if repository == "" {
		repository = "registry.k8s.io"
	}
	take := func(at *yaml.Node, repository, name, tag string) {
		ref := joinRef(repository, name, tag, "")
		if s, ok := shapeOf(ref); ok && s.pinned() {
			w.report(ref, at, Suspected, "kubeadm's configuration")
		}
	}
	if version := get(m, "kubernetesVersion"); kubernetesVersion.MatchString(text(version)) {
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
			take(version, repository, name, text(version))
		}
	}
	for name, part := range map[string]*yaml.Node{"coredns/coredns": get(m, "dns"), "etcd": get(get(m, "etcd"), "local")} {
		own := text(get(part, "imageRepository"))
		if own == "" {
			own = repository
		} else if name == "coredns/coredns" {
			name = "coredns"
		}
		if tag := get(part, "imageTag"); text(tag) != "" {
			take(tag, own, name, text(tag))
		}
	}
}
