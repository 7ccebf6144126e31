package upstreamtest

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's schema 2, which are what most images of registries have.
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerConfig    = "application/vnd.docker.container.image.v1+json"
	DockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip = DockerLayer + ".gzip"
	DockerLayerZstd = DockerLayer + ".zstd"
)

// TypedLayer is a layer as a manifest names it.
type TypedLayer struct {
	MediaType string
	Data      []byte        // as it is uploaded
	DiffID    digest.Digest // of what it holds
}

// Config is that of an image, with what Docker's has and OCI's has not.
type Config struct {
	v1.Image
	Config struct {
		v1.ImageConfig
		OnBuild []string `json:",omitempty"`
	} `json:"config"`
}

// PushTyped uploads an image whose manifest and layers have the media types that are given; config says all but the layers.
func (u *Upstream) PushTyped(t testing.TB, repo, tag, mediaType string, config Config, layers ...TypedLayer) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType}
	config.RootFS = v1.RootFS{Type: "layers"}
	for _, l := range layers {
		d := u.PushBlob(t, repo, l.Data)
		d.MediaType = l.MediaType
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	m.Config = u.PushBlob(t, repo, encode(t, config))
	m.Config.MediaType = v1.MediaTypeImageConfig
	if mediaType == DockerManifest {
		m.Config.MediaType = DockerConfig
	}
	raw := encode(t, m)
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Platform: &config.Platform}
	if tag == "" {
		tag = d.Digest.String()
	}
	// The registry looks at no media type it does not know, as those of the world do.
	if res := u.send(t, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, raw); res.StatusCode != http.StatusCreated {
		t.Fatalf("the registry refuses the manifest of %s: %s", repo, res.Status)
	}
	return d
}
