package scan

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// split puts together a reference that a mapping holds in pieces: registry,
// repository (or image, or name under an image key), tag, digest.
func (w *walker) split(m *yaml.Node, key string, md mode) {
	named := isImageKey(key)
	repo := firstOf(m, "repository", "imageRepository", "repo", "image", "imageName", "baseImage")
	if text(repo) == "" && named {
		repo = firstOf(m, "name")
	}
	name := text(repo)
	if name == "" || w.seen[repo] || hasAny(m, "chart", "chartName", "targetRevision", "url", "git") {
		return
	}
	registry := text(firstOf(m, "registry", "imageRegistry", "hub", "domain"))
	tagNode := firstOf(m, "tag", "imageTag", "version")
	tag := text(tagNode)
	digest := text(firstOf(m, "digest", "imageDigest", "sha"))
	whole, ok := shapeOf(name)
	if strings.Contains(name+registry+tag, unresolved) && (named || md == custom) && tag != "" {
		w.unresolved(repo, joinRef(registry, name, tag, digest))
		return
	}
	if !ok || whole.pinned() && registry == "" {
		return // one piece already: the key rules take it
	}
	guessed := false
	if tag == "" && digest == "" && w.ownImage(name) && (named || tagKeyThere(m)) {
		tag, guessed = w.appVersion, true
	}
	ref := joinRef(registry, name, tag, digest)
	s, ok := shapeOf(ref)
	if !ok {
		return
	}
	explicitKey := named || registry != "" || text(get(m, "repository")) == ""
	switch {
	case s.pinned() && (explicitKey || s.domain || s.path):
		c, versionOnly := Suspected, hasOnly(m, "version", "tag", "imageTag")
		if md == custom && (named || registry != "") && !versionOnly {
			c = Certain
		}
		if versionOnly && !named && !s.domain {
			return // {name, version} of something else
		}
		w.seen[repo] = true
		if guessed {
			w.emit(finding{text: ref, line: w.line(repo), certainty: Suspected, guessed: true, reason: "repository of " + orThis(key) + " with the chart's appVersion"})
			return
		}
		w.report(ref, repo, c, "registry, repository and tag of "+orThis(key))
	case named && !s.pinned() && (s.domain || registry != ""):
		w.seen[repo] = true
		w.warn(w.line(repo), "the repository "+joinRef(registry, name, "", "")+" has no tag beside it: list the image in images/shim")
	}
}

// joinRef makes REGISTRY/NAME:TAG@DIGEST of what is there. A name that has
// its registry already keeps it.
func joinRef(registry, name, tag, digest string) string {
	registry = strings.TrimSuffix(registry, "/")
	if s, ok := shapeOf(name); registry != "" && (!ok || !s.domain) {
		name = registry + "/" + strings.TrimPrefix(name, "/")
	}
	if tag != "" && !strings.HasPrefix(tag, "sha256:") {
		name += ":" + tag
	} else if tag != "" && digest == "" {
		digest = tag
	}
	if digest != "" && !strings.Contains(tag, "@") {
		if !strings.Contains(digest, ":") {
			digest = "sha256:" + digest
		}
		name += "@" + digest
	}
	return name
}

// firstOf gives the first of the keys that holds text.
func firstOf(m *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n := get(m, key); text(n) != "" {
			return n
		}
	}
	return nil
}

func hasAny(m *yaml.Node, keys ...string) bool {
	for _, key := range keys {
		if get(m, key) != nil {
			return true
		}
	}
	return false
}

// hasOnly: the first key is there and the others are not.
func hasOnly(m *yaml.Node, key string, others ...string) bool {
	return text(get(m, key)) != "" && firstOf(m, others...) == nil
}

func orThis(key string) string {
	if key == "" {
		return "one mapping"
	}
	return key
}

// ownImage: the repository is one of the application's that the chart is for,
// and has its version.
func (w *walker) ownImage(repository string) bool {
	if w.appVersion == "" {
		return false
	}
	for word := range strings.FieldsFuncSeq(w.chartName, func(r rune) bool { return r == '-' || r == '_' }) {
		if len(word) > 3 && word != "operator" && strings.Contains(repository, word) {
			return true
		}
	}
	return strings.Contains(repository, w.chartName)
}

// tagKeyThere: the mapping has a place for a tag, though it is empty.
func tagKeyThere(m *yaml.Node) bool {
	return hasAny(m, "tag", "imageTag") && get(m, "repository") != nil
}
