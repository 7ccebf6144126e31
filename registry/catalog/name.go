package catalog

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// Limits of names, in bytes.
const (
	MaxNameLength = 255 // the registry's own limit for a repository name
	MaxTagLength  = 128
)

var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// CheckRepository accepts exactly the names a registry accepts. Such a name is also a safe relative path: no
// component is empty, "." or "..", and none starts with '_', which the layout keeps for itself.
func CheckRepository(name string) error {
	if len(name) == 0 || len(name) > MaxNameLength || !repositoryPattern.MatchString(name) {
		return fmt.Errorf("repository name %.300q: %w", name, ErrInvalid)
	}
	return nil
}

// CheckTag accepts exactly the tags a registry accepts.
func CheckTag(tag string) error {
	if len(tag) > MaxTagLength || !tagPattern.MatchString(tag) {
		return fmt.Errorf("tag %.150q: %w", tag, ErrInvalid)
	}
	return nil
}

// RepositoryName returns the repository in which an image reference is kept, and its tag if it has one:
// "localhost:5000/x:1" is "localhost_5000/x", "1"; "nginx" is "docker.io/library/nginx", "".
func RepositoryName(ref string) (name, tag string, err error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", fmt.Errorf("image reference %.300q: %w: %w", ref, err, ErrInvalid)
	}
	name = DomainDirectory(reference.Domain(named)) + "/" + reference.Path(named)
	if err := CheckRepository(name); err != nil {
		return "", "", fmt.Errorf("image reference %.300q: %w", ref, err)
	}
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return name, tag, nil
}

// DomainDirectory writes a registry's domain as the first component of a repository name. Docker's own
// hosts are one registry under several names.
func DomainDirectory(domain string) string {
	domain = strings.ToLower(domain)
	switch domain {
	case "index.docker.io", "registry-1.docker.io", "registry.docker.io", "docker.io:443", "registry-1.docker.io:443":
		return "docker.io"
	}
	return strings.NewReplacer("[", "", "]", "", ":", "_").Replace(domain)
}

// IsDomain says whether the first component of a repository name is a registry's domain, by the rule
// docker uses for references, with '_' for the ':' of a port.
func IsDomain(component string) bool {
	return strings.ContainsAny(component, "._") || component == "localhost"
}
