package pull

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/types"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Named is one image of an archive.
type Named struct {
	Ref    string // the full reference it is known by
	Source string // what to put into Archive.Source
}

// ListArchive names the images of an archive by what the archive itself calls them. An image without a name is left out; an archive
// without any name is an error.
func ListArchive(a Archive, sys *types.SystemContext) ([]Named, error) {
	var all []Named
	var err error
	switch a.Transport {
	case "docker-archive":
		all, err = listDocker(a.Path, sys)
	case "oci-archive":
		all, err = listOCI(a.Path)
	default:
		err = fmt.Errorf("unknown kind of archive %q: expected docker-archive or oci-archive", a.Transport)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Path, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read %s: no image in it has a name; give it one in images/skopeo/tar.txt, as %s:FILE@REPOSITORY:TAG", a.Path, a.Transport)
	}
	return all, nil
}

func listDocker(file string, sys *types.SystemContext) (all []Named, err error) {
	if sys == nil {
		sys = &types.SystemContext{}
	}
	r, err := archive.NewReader(sys, file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	images, err := r.List()
	if err != nil {
		return nil, err
	}
	for _, names := range images {
		for _, n := range names {
			if ref := n.DockerReference(); ref != nil {
				all = append(all, Named{Ref: ref.String(), Source: ref.String()})
			}
		}
	}
	return all, nil
}

// listOCI reads index.json of an OCI layout in a tar, compressed or not.
func listOCI(file string) ([]Named, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	plain, _, err := compression.AutoDecompress(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	entries := tar.NewReader(plain)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it holds no index.json")
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(h.Name) != "index.json" {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(entries, ocigraph.MaxManifest))
		if err != nil {
			return nil, err
		}
		return namesOf(raw)
	}
}

func namesOf(raw []byte) ([]Named, error) {
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var all []Named
	for i, d := range index.Manifests {
		source := d.Annotations[v1.AnnotationRefName]
		if source == "" && len(index.Manifests) > 1 {
			source = fmt.Sprintf("@%d", i)
		}
		// containerd keeps the full name apart from the layout's short one.
		for _, text := range []string{d.Annotations["io.containerd.image.name"], d.Annotations[v1.AnnotationRefName]} {
			if named, err := reference.ParseNormalizedNamed(text); err == nil && text != "" {
				all = append(all, Named{Ref: reference.TagNameOnly(named).String(), Source: source})
				break
			}
		}
	}
	return all, nil
}
