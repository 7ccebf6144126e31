package scan

import (
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// role is what a key says of a part of a reference.
type role int

const (
	noRole role = iota
	registryRole
	repositoryRole
	imageRole
	tagRole
	versionRole
	digestRole
	roles
)

// pieces are the parts of one reference that keys with one prefix hold:
// fooImage, fooImageTag; foo.repository, foo.tag; FOO_IMAGE, FOO_TAG.
type pieces struct {
	prefix string
	parts  [roles]*yaml.Node
}

func (p *pieces) text(r role) string { return text(p.parts[r]) }

// name is the node and the text of what follows the registry: a base and a
// name below it, or either.
func (p *pieces) name() (*yaml.Node, string) {
	repository, image := p.text(repositoryRole), p.text(imageRole)
	switch {
	case repository == "":
		return p.parts[imageRole], image
	case image == "" || image == repository || strings.HasSuffix(repository, "/"+image):
		return p.parts[repositoryRole], repository
	}
	if s, ok := shapeOf(image); ok && (s.domain || s.digest) {
		return p.parts[imageRole], image
	}
	return p.parts[imageRole], strings.TrimSuffix(repository, "/") + "/" + image
}

// roleOf tells the role of a key and what is in front of it.
func roleOf(key string) (prefix string, r role) {
	w := keyWords(key)
	cut := func(n int, r role) (string, role) {
		rest := w[:len(w)-n]
		// The image's tag is the tag: foo.image.tag goes with foo.image.
		for r != imageRole && len(rest) > 0 && slices.Contains([]string{"image", "img", "docker", "container"}, rest[len(rest)-1]) {
			rest = rest[:len(rest)-1]
		}
		return strings.Join(rest, " "), r
	}
	ends := func(words ...string) bool {
		return len(w) >= len(words) && slices.Equal(w[len(w)-len(words):], words)
	}
	switch {
	case ends("tag"):
		return cut(1, tagRole)
	case ends("image", "version"):
		return cut(1, tagRole)
	case ends("version"):
		return cut(1, versionRole)
	case ends("digest"):
		return cut(1, digestRole)
	case ends("image", "sha"), ends("image", "sha256"), len(w) == 1 && ends("sha"):
		return cut(1, digestRole)
	case ends("repo", "url"), ends("registry", "url"), ends("registry", "address"), ends("image", "base"):
		return cut(2, registryRole)
	case ends("registry"), ends("hub"), len(w) == 1 && (ends("base") || ends("domain")):
		return cut(1, registryRole)
	case ends("repository"), ends("repo"):
		return cut(1, repositoryRole)
	case ends("docker", "image", "name"):
		return cut(3, imageRole)
	case ends("image", "name"), ends("base", "image") && len(w) == 2, ends("docker", "image"):
		return cut(2, imageRole)
	case ends("image"):
		return cut(1, imageRole)
	}
	return "", noRole
}

// keyWords takes a key apart at punctuation and at capitals, in lower case.
func keyWords(key string) []string {
	var words []string
	start, before := -1, rune(0)
	flush := func(end int) {
		if start >= 0 && end > start {
			words = append(words, strings.ToLower(key[start:end]))
		}
		start = -1
	}
	for i, c := range key {
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			flush(i)
		case unicode.IsUpper(c) && unicode.IsLower(before):
			flush(i)
			start = i
		case start < 0:
			start = i
		}
		before = c
	}
	flush(len(key))
	return words
}

// piecesOf groups key and value pairs by prefix, in their order.
func piecesOf(keys []string, values []*yaml.Node) []*pieces {
	var out []*pieces
	groups := map[string]*pieces{} // by prefix
	for i, key := range keys {
		v := resolve(values[i])
		prefix, r := roleOf(key)
		if r == noRole || text(v) == "" {
			continue
		}
		p := groups[prefix]
		if p == nil {
			p = &pieces{prefix: prefix}
			groups[prefix], out = p, append(out, p)
		}
		if p.parts[r] == nil {
			p.parts[r] = v
		}
	}
	return out
}

// scope is what mappings further out say for the references inside.
type scope struct {
	registry string
	tag      string // of images whose own is left out; with the registry only
	near     string // the tag in the mapping next to this one
}

// scopeOf adds what a mapping says to the scope around it.
func scopeOf(m *yaml.Node, around scope) scope {
	out := around
	out.near = ""
	for _, m := range []*yaml.Node{get(m, "global"), m} {
		if m == nil || m.Kind != yaml.MappingNode {
			continue
		}
		if registry := text(firstOf(m, "registry", "imageRegistry", "hub", "imageHub", "registryAddress")); registry != "" && !strings.ContainsAny(registry, " \n") {
			out.registry, out.tag = registry, ""
			out.tag = text(firstOf(m, "tag", "imageTag"))
		} else if address := text(get(get(m, "registry"), "address")); address != "" {
			out.registry, out.tag = address, ""
		}
	}
	out.near = text(firstOf(m, "tag", "imageTag", "version"))
	return out
}
