package store

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/distribution/reference"
)

// Name checks a cluster image's name and gives it the tag latest when it has neither tag nor digest. The name is kept as the
// operator wrote it; two names are the same image when their Keys are equal.
func Name(given string) (string, error) {
	named, err := reference.ParseNormalizedNamed(given)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w (expected NAME:TAG, as kubernetes:v1.36.3)", given, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", fmt.Errorf("image name %q: a stored image is named by a tag, not by a digest", given)
	}
	if reference.IsNameOnly(named) {
		return given + ":latest", nil
	}
	return given, nil
}

// Key is the name in full, as docker writes it out: kubernetes:v1 and docker.io/library/kubernetes:v1 have one key.
func Key(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// recordFile is a key as one file name that no key can share.
func recordFile(key string) string {
	return strings.ReplaceAll(url.PathEscape(key), ":", "%3A") + ".json"
}
