package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// NamedContext is what a name stands for after FROM and --from: one of the first three fields is set.
type NamedContext struct {
	Dir    string // a directory
	Image  string // an image of the store or of a registry
	Layout string // a directory with an OCI layout, with :TAG or @DIGEST where it holds several images

	Exclude []string // of a directory: what is left out, in .dockerignore syntax
}

// ParseContext reads NAME=WHAT of --build-context.
func ParseContext(text string) (name string, c NamedContext, err error) {
	name, what, _ := strings.Cut(text, "=")
	if name == "" || what == "" {
		return "", c, fmt.Errorf("%q: expected NAME=DIRECTORY, NAME=docker-image://IMAGE or NAME=oci-layout://DIRECTORY[:TAG]", text)
	}
	if _, err := reference.ParseNormalizedNamed(name); err != nil {
		return "", c, fmt.Errorf("%q: %w", name, err)
	}
	scheme, rest, ok := strings.Cut(what, "://")
	switch {
	case !ok:
		fi, err := os.Stat(what)
		if err == nil && !fi.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			err = fmt.Errorf("%q: %w", text, err)
		}
		return name, NamedContext{Dir: what}, err
	case scheme == "docker-image" || scheme == "container-image" || scheme == "docker":
		_, err := reference.ParseNormalizedNamed(rest)
		return name, NamedContext{Image: rest}, err
	case scheme == "oci-layout":
		return name, NamedContext{Layout: rest}, nil
	}
	return "", c, fmt.Errorf("%s: nobody knows before what is there: fetch it into a directory, and name that", what)
}

// importLayout copies an image of an OCI layout into the store, as far as the layout has its platforms.
func (b *Builder) importLayout(ctx context.Context, layout string) (v1.Descriptor, error) {
	dir, root, err := findInLayout(layout)
	if err != nil {
		return v1.Descriptor{}, err
	}
	open := func(d v1.Descriptor) (*os.File, error) {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		return os.Open(filepath.Join(dir, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()))
	}
	put := func(d v1.Descriptor) error {
		f, err := open(d)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return b.Store.Put(ctx, d.Digest, d.Size, f)
	}
	return root, ocigraph.Walk(root, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			if err := ocigraph.CheckSize(d.Digest, d.Size); err != nil {
				return ocigraph.Manifest{}, err
			}
			if err := put(d); err != nil {
				return ocigraph.Manifest{}, err
			}
			return ocigraph.Read(b.Store, d.Digest)
		},
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			return slices.DeleteFunc(n.Manifest.Manifests, func(d v1.Descriptor) bool {
				f, err := open(d)
				if err == nil {
					_ = f.Close()
				}
				return errors.Is(err, fs.ErrNotExist) // of another platform
			}), nil
		},
		Leaf: func(_ ocigraph.Node, d v1.Descriptor) error { return put(d) },
	})
}

// findInLayout finds the image that DIRECTORY, DIRECTORY:TAG or DIRECTORY@DIGEST means.
func findInLayout(layout string) (dir string, root v1.Descriptor, err error) {
	dir, tag, pin := layout, "", ""
	if _, err := os.Stat(dir); err != nil {
		if before, after, ok := strings.Cut(layout, "@"); ok {
			dir, pin = before, after
		} else if i := strings.LastIndexByte(layout, ':'); i > strings.LastIndexByte(layout, '/') {
			dir, tag = layout[:i], layout[i+1:]
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, v1.ImageIndexFile))
	if err != nil {
		return "", root, fmt.Errorf("no OCI layout: %w", err)
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return "", root, fmt.Errorf("%s: %w", filepath.Join(dir, v1.ImageIndexFile), err)
	}
	var names []string
	var found []v1.Descriptor
	for _, d := range index.Manifests {
		name := d.Annotations[v1.AnnotationRefName]
		names = append(names, name+"@"+d.Digest.String())
		if (tag == "" || name == tag || strings.HasSuffix(name, ":"+tag)) && (pin == "" || d.Digest == digest.Digest(pin)) {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return "", root, fmt.Errorf("%s names %s of the layout, expected one: it holds %s", layout, count.Of(len(found), "image"), strings.Join(names, ", "))
	}
	return dir, found[0], nil
}
