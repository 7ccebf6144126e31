package scan

import (
	"cmp"
	"regexp"
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

// name is the node and the text of what follows the registry: a base and a name below it, or either.
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
		if r == noRole || text(v) == "" || r == imageRole && isOtherImage(key) {
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
	registry string // what goes in front of names
	unsure   bool   // the registry may be a word about something else, or an image of its own
	override bool   // it is a repository, which another one inside takes the place of
	tag      string // of images whose own is left out; with the registry only
	near     string // the tag in the mapping next to this one
	variant  string // the tag beside the name of an image further out, whose other forms follow below
}

// scopeOf adds what a mapping says to the scope around it.
func (w *walker) scopeOf(m *yaml.Node, around scope) scope {
	out := around
	for _, m := range []*yaml.Node{get(m, "global"), m} {
		registry, repository := w.prefixOf(m)
		registry = cmp.Or(registry, text(get(get(m, "registry"), "address")))
		if registry == "" && repository == "" {
			continue
		}
		s, _ := shapeOf(repository + "/name")
		out.override = registry == ""
		out.unsure = out.override && (!s.domain || strings.Count(repository, "/") > 1)
		if out.registry = registry; repository != "" && !strings.Contains(registry, "/") {
			out.registry = joinRef(registry, repository, "", "")
		}
		out.tag = text(firstOf(m, "tag", "imageTag", "image_tag"))
	}
	out.near = text(firstOf(m, "tag", "imageTag", "version"))
	if tag := text(firstOf(m, "tag", "imageTag")); tag != "" && text(firstOf(m, "image", "repository", "name")) != "" {
		out.variant = tag
	}
	return out
}

// prefixOf gives what a mapping puts in front of the names in it and below: a registry, whose key says so (imageRegistry, hub) or
// whose value does (base, prefix), and a repository, which may be one of git, or an image of its own.
func (w *walker) prefixOf(m *yaml.Node) (registry, repository string) {
	own := firstOf(m, "tag", "imageTag", "image_tag", "digest", "version") != nil && get(m, "image") == nil
	for k, v := range pairs(m) {
		says, value := prefixKey(k.Value), w.expanded(strings.TrimSpace(text(v)))
		_, r := roleOf(k.Value)
		if says == isPrefix {
			if _, rest, ok := strings.Cut(value, "://"); ok {
				value = rest
			}
		}
		value = strings.TrimSuffix(value, "/")
		s, ok := shapeOf(joinRef(value, "name", "", ""))
		later := strings.Contains(value, unresolved) && (says == isPrefix || ofRegistry.MatchString(value))
		switch {
		case says == noPrefix || value == "" || !later && (!ok || s.pinned()) || own && r == repositoryRole:
		case r == repositoryRole:
			repository = cmp.Or(repository, value)
		case says == isPrefix:
			registry = value
		case s.domain || later:
			registry = cmp.Or(registry, value)
		}
	}
	return registry, repository
}

// ofRegistry finds a variable with a path beside it that is no URL. Read-only after start.
var ofRegistry = regexp.MustCompile(`^[^:@]+/[^:@]+$`)

// prefixSays is what a key says of its value: whether names follow it.
type prefixSays int

const (
	noPrefix prefixSays = iota
	mayBePrefix
	isPrefix
)

// prefixKey tells whether a key holds what goes in front of names: registry, imageHub, defaultImageRegistry, image_prefix. One that
// says whose registry it is (proxyRegistry) belongs to a name beside it.
func prefixKey(key string) prefixSays {
	says, image := noPrefix, false
	for _, word := range keyWords(key) {
		switch word {
		case "registry", "hub":
			says = isPrefix
		case "repository", "repo", "base", "prefix":
			says = max(says, mayBePrefix)
		case "image", "images", "container", "docker":
			image = true
		case "default", "global", "url", "address", "host", "server", "domain", "path":
		default:
			return noPrefix
		}
	}
	if image && says == mayBePrefix {
		return isPrefix
	}
	return says
}

// split puts together the references that a mapping holds in pieces.
func (w *walker) split(m *yaml.Node, key string, md mode) {
	if hasAny(m, "chart", "chartName", "targetRevision", "url", "git") {
		return
	}
	var keys []string
	var values []*yaml.Node
	for k, v := range pairs(m) {
		if plain := resolve(v); k.Tag != "!!merge" && plain != nil && plain.Kind == yaml.ScalarNode {
			keys, values = append(keys, k.Value), append(values, v)
		}
	}
	groups := piecesOf(keys, values)
	named := isImageKey(key)
	none := len(groups) == 0 || groups[0].prefix != "" || groups[0].parts[imageRole] == nil
	tagged := w.scope.registry != "" && !w.scope.unsure && get(m, "tag") != nil && firstOf(m, "repository", "repo") == nil // under a registry
	if name := get(m, "name"); (named || tagged) && text(name) != "" && none {
		groups = piecesOf(append(keys, "image"), append(values, name))
	}
	around := w.scope
	for _, p := range groups {
		w.scope = around
		if beside := w.scopeOf(m, around); p.prefix != "" && !beside.override { // registry beside agentImage and agentTag
			w.scope = beside
			w.scope.near, w.scope.variant = around.near, around.variant
		}
		w.compose(p, key, md, named && p.prefix == "")
	}
	w.scope = around
}

// compose takes one reference. named: the key of the mapping says image.
func (w *walker) compose(p *pieces, key string, md mode, named bool) {
	at, name := p.name()
	if name == "" || w.seen[at] {
		return
	}
	name = w.expanded(name)
	registry, tag, digest := w.expanded(p.text(registryRole)), w.expanded(p.text(tagRole)), p.text(digestRole)
	versionOnly := tag == "" && digest == ""
	if versionOnly {
		tag = p.text(versionRole)
	}
	if strings.Contains(name+registry+tag, unresolved) {
		if (named || md == custom) && tag != "" {
			w.unresolved(at, joinRef(registry, name, tag, digest), md == custom)
		}
		return
	}
	whole, ok := shapeOf(name)
	if !ok || whole.pinned() && registry == "" {
		return // one piece already: the key rules take it
	}
	named = named || p.parts[imageRole] != nil
	below, elsewhere, guessed := false, false, false
	if registry == "" && !whole.domain && w.scope.registry != "" && !(w.scope.override && p.text(repositoryRole) != "") && (named || p.parts[repositoryRole] != nil) {
		registry, below, elsewhere = w.scope.registry, true, true
		if strings.Contains(registry, unresolved) {
			if w.seen[at] = true; named || tag+digest != "" {
				w.unresolved(at, joinRef(registry, name, tag, digest), md == custom)
			}
			return
		}
	}
	if tag == "" && digest == "" && !whole.pinned() {
		switch {
		case w.scope.near != "" && named && key != "":
			tag, elsewhere = w.scope.near, true
		case w.ownImage(name) && (named || p.parts[repositoryRole] != nil):
			tag, guessed = w.appVersion, true
		case w.scope.variant != "" && named && key != "":
			tag, elsewhere = w.scope.variant, true
		case w.scope.tag != "" && below && named:
			tag, elsewhere = w.scope.tag, true
		}
	}
	if below && w.scope.unsure && tag+digest != "" {
		w.report(joinRef("", name, tag, digest), at, Suspected, "name and tag under "+orThis(key))
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

// ownImage tells whether the repository is one of the application that the chart is for, and so has its version.
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
