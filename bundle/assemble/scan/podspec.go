package scan

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// podSpec takes the images of a PodSpec, wherever the mapping is embedded:
// every list of containers and every image volume.
func (w *walker) podSpec(m *yaml.Node) {
	if text(get(get(m, "nodeSelector"), "kubernetes.io/os")) == "windows" {
		inner := *w
		inner.demote = "for Windows nodes"
		w = &inner
	}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		items := get(m, list)
		if items == nil || items.Kind != yaml.SequenceNode {
			continue
		}
		for _, item := range items.Content {
			image := get(item, "image")
			if image == nil || image.Kind != yaml.ScalarNode || w.seen[image] {
				continue
			}
			w.seen[image] = true
			w.containerImage(image, list, text(get(item, "name")))
		}
	}
	volumes := get(m, "volumes")
	if volumes == nil || volumes.Kind != yaml.SequenceNode {
		return
	}
	for _, volume := range volumes.Content {
		ref := get(get(volume, "image"), "reference")
		if ref != nil && ref.Kind == yaml.ScalarNode && !w.seen[ref] {
			w.seen[ref] = true
			w.containerImage(ref, "volumes", text(get(volume, "name")))
		}
	}
}

// containerImage takes what a container names; what cannot be a reference is
// worth a warning there.
func (w *walker) containerImage(n *yaml.Node, list, name string) {
	value := w.expanded(text(n))
	switch {
	case value == "":
		return // filled in by an admission controller
	case value == "auto":
		w.warn(w.line(n), "image: auto is filled in on the site: list the image in images/shim")
		return
	case strings.Contains(value, unresolved):
		w.unresolved(n, value)
		return
	}
	if _, err := Normalize(value); err != nil {
		w.warn(w.line(n), fmt.Sprintf("%s of container %s: %v", list, name, err))
		return
	}
	w.report(value, n, Certain, "image of "+strings.TrimSuffix(list, "s")+" "+name)
}

// expanded gives a value with the variables that the Kubefile or the script
// around it sets; others become the unresolved mark.
func (w *walker) expanded(value string) string {
	if !strings.Contains(value, "$") || strings.ContainsAny(value, " \n") {
		return value
	}
	s := &shellReader{env: w.env}
	s.quoted(value, 0)
	return s.word.String()
}

// unresolved warns of a reference that a template makes on the site.
func (w *walker) unresolved(n *yaml.Node, value string) {
	repository, tag, ok := cutLast(value, ":")
	if s, is := shapeOf(repository); ok && is && s.path && !w.quiet && strings.Contains(tag, unresolved) {
		w.report(repository, n, Suspected, "image whose tag is added at run time")
	}
	w.warn(w.line(n), fmt.Sprintf("the image %q depends on a value that is not known: give it in the Kubefile's ENV or list the image in images/shim",
		strings.ReplaceAll(value, unresolved, "…")))
}

// kustomization takes what a kustomization.yaml puts in place of images.
func (w *walker) kustomization(m *yaml.Node) {
	images := get(m, "images")
	if images == nil || images.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range images.Content {
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
