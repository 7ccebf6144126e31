package scan

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// envVar takes an env entry {name, value}, in any object. A variable that is
// called an image and names one in full is what its program will run; what
// else reads like an image is suspected.
func (w *walker) envVar(m *yaml.Node) {
	name, value := text(get(m, "name")), get(m, "value")
	if name == "" || value == nil || value.Kind != yaml.ScalarNode || w.seen[value] {
		return
	}
	w.seen[value] = true
	plain := strings.TrimSpace(text(value))
	_, r := roleOf(name)
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
	w.loose(value, "env "+name, strings.Contains(strings.ToLower(name), "image"))
}

// isImageVariable: RELATED_IMAGE_X, IMAGE_X, X_IMAGE.
func isImageVariable(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasPrefix(upper, "RELATED_IMAGE_") || strings.HasPrefix(upper, "IMAGE_") || isImageKey(name)
}

// envPieces puts together what variables beside each other say in pieces:
// X_IMAGE and X_TAG, X_REPOSITORY and X_VERSION.
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
