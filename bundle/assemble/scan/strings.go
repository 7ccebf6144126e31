package scan

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// isImageKey tells whether the value of a key is an image: image, imageName, sidecarImage, init_container_image, image-ref.
func isImageKey(key string) bool {
	switch k := flatKey(key); k {
	case "imagename", "imageref", "imagereference", "imageuri", "imageurl", "img":
		return true
	default:
		return strings.HasSuffix(k, "image") && !isOtherImage(key)
	}
}

// isOtherImage tells whether a key is about an image of another kind than a container's.
func isOtherImage(key string) bool {
	w := keyWords(key)
	return len(w) > 1 && slices.Contains([]string{"os", "vm", "machine", "background", "cover", "boot", "iso"}, w[len(w)-2])
}

// isImageListKey tells whether each element under a key is an image.
func isImageListKey(key string) bool {
	return strings.HasSuffix(flatKey(key), "images") || isImageKey(key)
}

// punctuation is made once: keys are asked about a hundred thousand times in a large document.
var punctuation = strings.NewReplacer("-", "", "_", "", ".", "")

func flatKey(key string) string { return strings.ToLower(punctuation.Replace(key)) }

// isArguments tells whether the sequence under a key is a command line.
func isArguments(key string) bool {
	k := strings.ToLower(key)
	return k == "command" || strings.HasSuffix(k, "args") || k == "entrypoint" || k == "cmd"
}

// scalar looks at a value under a key that no structure explains.
func (w *walker) scalar(n *yaml.Node, key string, m mode) {
	value := text(n)
	if value == "" || m == builtin {
		return
	}
	switch {
	case strings.Contains(value, "\n"):
		w.embedded(n, key)
	case isImageKey(key):
		w.imageKey(n, key, m)
	default:
		if _, r := roleOf(key); r != tagRole && r != versionRole && r != digestRole {
			w.loose(n, "value of "+orThis(key), false)
		}
	}
}

// imageKey takes the value of a key that says image.
func (w *walker) imageKey(n *yaml.Node, key string, m mode) {
	value := w.expanded(text(n))
	if w.seen[n] || n.Tag == "!!int" || n.Tag == "!!float" {
		return
	}
	if strings.Contains(value, unresolved) {
		_, ok := shapeOf(strings.ReplaceAll(value, unresolved, "x"))
		w.unresolved(n, value, ok && m == custom)
		return
	}
	s, ok := shapeOf(value)
	if ok && !s.explicit() && w.scope.registry != "" && w.scope.tag != "" {
		w.seen[n] = true
		w.report(joinRef(w.scope.registry, value, w.scope.tag, ""), n, Suspected, "value of "+key+" with the registry and tag around it")
		return
	}
	if ok && s.pinned() && !s.domain && w.scope.registry != "" {
		// The name as it is may be meant, too.
		w.seen[n] = true
		whole := joinRef(w.scope.registry, value, "", "")
		if strings.Contains(whole, unresolved) {
			w.unresolved(n, whole, m == custom)
			return
		}
		w.report(whole, n, Suspected, "value of "+key+" with the registry around it")
		w.report(value, n, Suspected, "value of "+key)
		return
	}
	if !ok || m == data && !s.explicit() && !s.path {
		return // plain data: a bare word is the name of anything
	}
	w.seen[n] = true
	c := Suspected
	if m == custom && s.pinned() {
		c = Certain // without a tag, the controller may add one
	}
	w.report(value, n, c, "value of "+key)
}

// isSetting tells whether a key beside images says how to pull them.
func isSetting(key string) bool {
	w := keyWords(key)
	switch last := w[max(0, len(w)-1):]; {
	case len(w) == 0:
		return false
	default:
		return slices.Contains([]string{"tag", "policy", "registry", "repository", "secret", "secrets", "version", "digest", "enabled", "hub"}, last[0])
	}
}

// loose takes a value that may be an image: a pinned one when the name beside it says image, else only one with its registry. Lists
// with commas and KEY=VALUE are taken apart; text with blanks in it is prose or a command.
func (w *walker) loose(n *yaml.Node, what string, named bool) {
	value := strings.TrimSpace(text(n))
	if strings.ContainsAny(value, "\n{[") {
		inner := *w
		inner.named = named
		inner.embedded(n, what)
		return
	}
	for _, ref := range looseRefs(value, named) {
		w.report(ref, n, Suspected, what)
	}
}

// looseRefs gives the references in one word, or in a list of them with commas. A list may have blanks too where the name beside it
// says image and each of its words gives a reference: anything else with blanks is prose or a command.
func looseRefs(value string, named bool) []string {
	if value == "" || len(value) > 64<<10 {
		return nil
	}
	blanks := strings.ContainsAny(value, " \t\n")
	if blanks && !named {
		return nil
	}
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	var out []string
	for _, word := range words {
		ref, ok := looseRef(word, &named)
		if ok {
			out = append(out, ref)
		} else if blanks {
			return nil
		}
	}
	return out
}

// looseRef gives the reference in a word: the word itself, or what it is set to.
// A key that says image speaks for the words behind it, too.
func looseRef(word string, named *bool) (ref string, ok bool) {
	for {
		s, ok := shapeOf(word)
		if ok && s.pinned() && (s.domain || s.digest || *named) {
			return trimRef(word), true
		}
		key, rest, more := strings.Cut(word, "=")
		if !more {
			return "", false
		}
		*named = *named || strings.Contains(strings.ToLower(key), "image")
		word = rest
	}
}

// sureRef tells whether text is one pinned reference with more than a bare name.
func sureRef(text string) bool {
	s, ok := shapeOf(text)
	return ok && s.pinned() && (s.domain || s.path)
}

// arguments takes images out of a command line: --flag=IMAGE, --flag IMAGE, and, in arguments, bare ones with their registry. The
// bare words of a command are programs and their operands; a word with blanks is a script.
func (w *walker) arguments(n *yaml.Node, key string) {
	after := "" // the flag whose value may be the next word
	for _, item := range n.Content {
		item = resolve(item)
		word := text(item)
		name, _, joined := strings.Cut(word, "=")
		flag := strings.HasPrefix(word, "-")
		what := "word of " + key
		switch {
		case flag:
			what = "flag " + name
		case after != "":
			name, what = after, "flag "+after
		case key == "command":
			continue
		default:
			name = ""
		}
		named := isImageKey(strings.TrimLeft(name, "-"))
		if _, value, _ := strings.Cut(word, "="); flag && named && sureRef(value) || !flag && named && sureRef(word) {
			w.report(strings.TrimPrefix(word, name+"="), item, Certain, what)
			after = ""
			continue
		}
		for _, ref := range looseRefs(strings.TrimLeft(word, "-"), strings.Contains(strings.ToLower(name), "image")) {
			w.report(ref, item, Suspected, what)
		}
		after = ""
		if flag && !joined {
			after = word
		}
	}
}
