package scan

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// Read-only after start.
var (
	portNumber    = regexp.MustCompile(`^[0-9]{2,5}$`)
	topLevel      = regexp.MustCompile(`^[a-zA-Z][a-zA-Z-]+$`)
	barePort      = regexp.MustCompile(`^[0-9]{4,5}$`)
	versionNumber = regexp.MustCompile(`^v?[0-9]+([.][0-9]+)*([-+].*)?$`)
)

// maxRef is the longest text looked at as a reference, in bytes: the longest name, tag and digest there may be.
const maxRef = 255 + 1 + 128 + 1 + 7 + 128

// Normalize gives the full form of an image reference: the registry's domain always there, library/ for Docker Hub's short names,
// :latest where neither tag nor digest is given. A tag beside a digest is kept.
func Normalize(text string) (string, error) {
	text = trimRef(text)
	if len(text) > maxRef {
		return "", errors.New("longer than any image reference")
	}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return "", fmt.Errorf("not an image reference %q: %w", text, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// trimRef takes off what surrounds a reference in the wild.
func trimRef(text string) string {
	text = strings.TrimSpace(text)
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		text = text[1 : len(text)-1]
	}
	return strings.TrimPrefix(text, "docker://")
}

// shape is what a reference says explicitly.
type shape struct {
	domain bool // a registry that cannot be mistaken for a path
	path   bool // more than one component
	tag    bool
	digest bool
}

// explicit tells whether the reference says so much that nobody writes it by accident under a key named image.
func (s shape) explicit() bool { return s.domain || s.tag || s.digest }

// pinned tells whether the reference gives a version.
func (s shape) pinned() bool { return s.tag || s.digest }

// shapeOf reads text as a reference; ok is false for what is none, or is
// surely something else (a file, a version, a port, a taint, a URL).
func shapeOf(text string) (s shape, ok bool) {
	text = trimRef(text)
	if text == "" || len(text) > maxRef || strings.Contains(text, "://") {
		return shape{}, false
	}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return shape{}, false
	}
	domain, rest, slash := strings.Cut(text, "/")
	s.domain = slash && isRegistry(domain)
	s.path = slash
	tagged, isTagged := named.(reference.Tagged)
	_, s.digest = named.(reference.Digested)
	s.tag = isTagged
	if slash && strings.ContainsAny(domain, ".:") && !s.domain {
		return shape{}, false // app.kubernetes.io/…, github.com/…
	}
	if !slash {
		rest = text
	}
	name, _, _ := strings.Cut(rest, ":")
	name, _, _ = strings.Cut(name, "@")
	if !s.tag && !s.digest && looksLikeFile(name) {
		return shape{}, false
	}
	if isTagged && notATag(tagged.Tag(), slash) {
		return shape{}, false
	}
	if !slash && isNoName(name) {
		return shape{}, false
	}
	return s, true
}

// isRegistry tells a registry's domain from a path component and from the domains that Kubernetes uses as key prefixes.
func isRegistry(domain string) bool {
	host, port, hasPort := strings.Cut(domain, ":")
	if hasPort && !portNumber.MatchString(port) {
		return false
	}
	if host == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	switch host {
	case "registry.k8s.io":
		return true
	case "github.com", "raw.githubusercontent.com", "gitlab.com", "golang.org", "k8s.io", "kubernetes.io", "helm.sh":
		return false
	}
	for _, suffix := range []string{".kubernetes.io", ".k8s.io", ".svc", ".cluster.local"} {
		if strings.HasSuffix(host, suffix) && !strings.HasPrefix(host, "registry.") {
			return false
		}
	}
	if !strings.Contains(host, ".") {
		return hasPort
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return topLevel.MatchString(last)
}

// looksLikeFile tells whether a name has a file's extension.
func looksLikeFile(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return false
	}
	switch strings.ToLower(name[dot+1:]) {
	case "png", "svg", "jpg", "jpeg", "gif", "ico", "webp", "yaml", "yml", "json", "toml", "sh", "py", "js", "md", "txt",
		"iso", "qcow2", "img", "raw", "vmdk", "ova", "tar", "tgz", "gz", "xz", "zip", "conf", "cfg", "ini", "sock", "pem",
		"crt", "key", "html", "css", "xml", "properties", "log", "tmpl", "tpl", "so":
		return true
	}
	return false
}

// notATag tells whether what follows the colon makes the text a port or a taint.
func notATag(tag string, path bool) bool {
	switch tag {
	case "NoSchedule", "PreferNoSchedule", "NoExecute":
		return true
	}
	// host:8080. One component and a bare port-sized number is no image,
	// except the small numbers that images do use (redis:7, node:22).
	return !path && barePort.MatchString(tag)
}

// isNoName tells whether a name is one of the words and numbers that stand where an image could stand.
func isNoName(name string) bool {
	switch strings.ToLower(name) {
	case "true", "false", "null", "none", "auto", "default", "latest", "always", "never", "ifnotpresent", "image", "string", "object":
		return true
	}
	return versionNumber.MatchString(name)
}

// strict tells whether text is a pinned reference with its registry, or carries a digest. Such a text is taken for an image
// wherever a value stands.
func strict(text string) bool {
	s, ok := shapeOf(text)
	return ok && s.pinned() && (s.domain || s.digest)
}

// joinRef makes REGISTRY/NAME:TAG@DIGEST of what is there. A name that has its registry already keeps it.
func joinRef(registry, name, tag, digest string) string {
	registry = strings.TrimSuffix(registry, "/")
	if s, ok := shapeOf(name); registry != "" && (!ok || !s.domain) {
		if !strings.HasSuffix(registry, "-") { // else the name goes on with it
			registry += "/"
		}
		name = registry + strings.TrimPrefix(name, "/")
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
