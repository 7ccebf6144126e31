package scan

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// split puts together the references that a mapping holds in pieces.
func (w *walker) split(m *yaml.Node, key string, md mode) {
	if hasAny(m, "chart", "chartName", "targetRevision", "url", "git") {
		return
	}
	var keys []string
	var values []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := m.Content[i]; k.Tag != "!!merge" && resolve(m.Content[i+1]) != nil && resolve(m.Content[i+1]).Kind == yaml.ScalarNode {
			keys, values = append(keys, k.Value), append(values, m.Content[i+1])
		}
	}
	groups := piecesOf(keys, values)
	named := isImageKey(key)
	if name := get(m, "name"); named && text(name) != "" && (len(groups) == 0 || groups[0].prefix != "" || groups[0].parts[imageRole] == nil) {
		groups = piecesOf(append(keys, "image"), append(values, name))
	}
	for _, p := range groups {
		w.compose(p, key, md, named && p.prefix == "")
	}
}

// compose takes one reference. named: the key of the mapping says image.
func (w *walker) compose(p *pieces, key string, md mode, named bool) {
	at, name := p.name()
	if name == "" || w.seen[at] {
		return
	}
	registry, tag, digest := p.text(registryRole), p.text(tagRole), p.text(digestRole)
	versionOnly := tag == "" && digest == ""
	if versionOnly {
		tag = p.text(versionRole)
	}
	if strings.Contains(name+registry+tag, unresolved) {
		if (named || md == custom) && tag != "" {
			w.unresolved(at, joinRef(registry, name, tag, digest))
		}
		return
	}
	whole, ok := shapeOf(name)
	if !ok || whole.pinned() && registry == "" {
		return // one piece already: the key rules take it
	}
	named = named || p.parts[imageRole] != nil
	elsewhere, guessed := false, false
	if registry == "" && !whole.domain && w.scope.registry != "" && (named || p.parts[repositoryRole] != nil) {
		registry, elsewhere = w.scope.registry, true
	}
	if tag == "" && digest == "" && !whole.pinned() {
		switch {
		case w.scope.near != "" && named && key != "":
			tag, elsewhere = w.scope.near, true
		case w.ownImage(name) && (named || p.parts[repositoryRole] != nil):
			tag, guessed = w.appVersion, true
		case w.scope.tag != "" && registry == w.scope.registry && named:
			tag, elsewhere = w.scope.tag, true
		}
	}
	ref := joinRef(registry, name, tag, digest)
	s, ok := shapeOf(ref)
	if !ok {
		return
	}
	f := finding{text: ref, line: w.line(at), certainty: Suspected, guessed: guessed, reason: "registry, repository and tag of " + orThis(strings.TrimSpace(key+" "+p.prefix))}
	switch {
	case !s.pinned():
		w.untagged(p, at, ref, md, named, s)
		return
	case versionOnly && tag == p.text(versionRole) && tag != "" && !named && !s.domain:
		return // {name, version} of something else
	case !named && registry == "" && !s.domain && !s.path:
		return // {repository: word, tag} of something else
	}
	if md == custom && !elsewhere && !guessed && !versionOnly && (named || registry != "") ||
		versionOnly && md == custom && p.parts[repositoryRole] != nil && p.parts[imageRole] != nil {
		f.certainty = Certain
	}
	for _, r := range []role{repositoryRole, imageRole} {
		if p.parts[r] != nil {
			w.seen[p.parts[r]] = true
		}
	}
	if f.certainty == Certain && w.demote != "" {
		f.certainty, f.reason = Suspected, f.reason+" "+w.demote
	}
	w.emit(f)
}

// untagged takes a repository whose tag is added at run time.
func (w *walker) untagged(p *pieces, at *yaml.Node, ref string, md mode, named bool, s shape) {
	if w.chartName != "" || !s.domain && (p.text(registryRole) == "" || !named) {
		return // a chart's templates know, or it is the name of anything
	}
	w.seen[at] = true
	w.report(ref, at, Suspected, "repository of an image whose tag is added at run time")
	if md == custom && named {
		w.warn(w.line(at), "the repository "+ref+" has no tag beside it: list the image in images/shim")
	}
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

// joinRef makes REGISTRY/NAME:TAG@DIGEST of what is there. A name that has
// its registry already keeps it.
func joinRef(registry, name, tag, digest string) string {
	registry = strings.TrimSuffix(registry, "/")
	if s, ok := shapeOf(name); registry != "" && (!ok || !s.domain) {
		name = registry + "/" + strings.TrimPrefix(name, "/")
	}
	if s, ok := shapeOf(name); ok && s.pinned() {
		return name
	}
	if tag != "" && !strings.HasPrefix(tag, "sha256:") {
		name += ":" + strings.TrimPrefix(tag, ":")
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

func orThis(key string) string {
	if key == "" {
		return "one mapping"
	}
	return key
}
