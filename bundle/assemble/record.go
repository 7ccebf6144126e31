package assemble

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// record completes a record with what the image itself says, and saves it.
func (b *Builder) record(rec store.Record, platforms []v1.Platform) (store.Record, error) {
	sizes := map[digest.Digest]int64{rec.Manifest.Digest: rec.Manifest.Size}
	for i, p := range platforms {
		config, err := b.Store.Config(rec.Manifest, p)
		if err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
		t, err := kubefile.TypeOf(config.Config.Labels)
		if err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
		if d := config.Config.Labels["sealos.io.distribution"]; t == kubefile.Rootfs && d != "" && d != "kubernetes" && d != "kubeadm" {
			b.report().Note(fmt.Sprintf("image %s says sealos.io.distribution=%s: sealinstall installs Kubernetes by kubeadm only, and will refuse it", rec.Name, d))
		}
		if i > 0 && rec.ClusterType != string(t) {
			return store.Record{}, fmt.Errorf("image %s is of type %s for %s and of type %s for %s",
				rec.Name, rec.ClusterType, store.Platform(platforms[0]), t, store.Platform(p))
		}
		if i == 0 {
			rec.Labels = config.Config.Labels
		}
		rec.ClusterType = string(t)
		rec.Version = config.Config.Labels["version"]
		if err := b.sizes(rec.Manifest, p, sizes); err != nil {
			return store.Record{}, fmt.Errorf("image %s: %w", rec.Name, err)
		}
	}
	for _, n := range sizes {
		rec.Size += n
	}
	var err error
	if rec.NeededUnique, err = b.Store.UniqueSize(rec.Images); err != nil {
		return store.Record{}, err
	}
	if err := b.Store.Save(rec); err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// sizes notes the blobs of a platform's image.
func (b *Builder) sizes(root v1.Descriptor, p v1.Platform, into map[digest.Digest]int64) error {
	one, err := b.Store.OfPlatform(root, p)
	if err != nil {
		return err
	}
	blobs, err := b.Store.Walk(one)
	for _, blob := range blobs {
		into[blob.Digest] = blob.Size
	}
	return err
}
