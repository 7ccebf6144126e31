package payload

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
)

// A bundle without a rootfs adds applications to a cluster that exists. The rootfs is then the one of the record: an image
// that says of itself what the record says of it, and has no layers, since it lies on the hosts. The same holds for the
// patches of the record.

// NoRootfsError says that a bundle has no rootfs, and that this run needs one.
type NoRootfsError struct{ Message, Remedy string }

func (e *NoRootfsError) Error() string { return e.Message + ": " + e.Remedy }

// Adds tells whether the bundle only adds applications to a cluster: it brings no rootfs. [Payload.Load] comes first.
func (p *Payload) Adds() bool { return p.Rootfs().Recorded }

// Brought are the images that the bundle brings.
func (p *Payload) Brought() []*Image {
	return slices.DeleteFunc(slices.Clone(p.Images), func(i *Image) bool { return i.Recorded })
}

// HasRootfs tells whether a bundle holds a rootfs.
func HasRootfs(b *bundle.Reader) (bool, error) {
	for _, held := range b.Images() {
		if held.Kind != bundle.KindCluster {
			continue
		}
		i, err := loadImage(b, held.Name, held.Digest, archOf(held, ""))
		if err != nil {
			return false, err
		}
		if i.Type == installer.TypeRootfs {
			return true, nil
		}
	}
	return false, nil
}

// onto puts the rootfs and the patches of the record before images that have no rootfs. Until the record is known, the
// rootfs has no name.
func (p *Payload) onto(images []*Image) ([]*Image, error) {
	recorded := recordedSystem(p.cluster)
	var patches []string
	for _, i := range images {
		if i.Type == installer.TypePatch {
			patches = append(patches, i.Name)
		}
	}
	if len(patches) > 0 {
		return nil, &NoRootfsError{
			Message: fmt.Sprintf("the bundle holds no rootfs, and %s changes what the rootfs brings to every host", strings.Join(patches, " and ")),
			Remedy:  "use a bundle with both, made by: sealbuild bundle ROOTFS PATCH… -o FILE",
		}
	}
	if !p.OntoCluster {
		return nil, &NoRootfsError{
			Message: "this bundle holds applications and no rootfs, and this command needs the rootfs of the cluster",
			Remedy:  "use the bundle that the cluster was made with" + nameOf(recorded),
		}
	}
	if len(recorded) == 0 {
		recorded = []*Image{{Type: installer.TypeRootfs, Recorded: true, Dir: installer.Dir(p.cluster.Name, "rootfs"), Secret: p.cluster.SecretEnv}}
	}
	return slices.Concat(recorded, images), nil
}

// nameOf names the rootfs among the images of a record, in brackets; it is empty if there is none.
func nameOf(recorded []*Image) string {
	if len(recorded) == 0 {
		return ""
	}
	return " (its rootfs is " + recorded[0].Name + ")"
}

// recordedSystem are the rootfs and the patches of a cluster by its record, the rootfs first; none if the record has no
// rootfs.
func recordedSystem(c *installer.Cluster) []*Image {
	var rootfs, patches []*Image
	for _, m := range c.Status.Mounts {
		i := &Image{
			Name: m.ImageName, Type: m.Type, Labels: m.Labels, Env: maps.Clone(m.Env), Recorded: true, Secret: c.SecretEnv,
			Dir: cmp.Or(m.MountPoint, installer.Dir(c.Name, "rootfs")),
		}
		switch m.Type {
		case installer.TypeRootfs:
			rootfs = append(rootfs, i)
		case installer.TypePatch:
			patches = append(patches, i)
		}
	}
	if len(rootfs) == 0 {
		return nil
	}
	return append(rootfs[:1], patches...)
}

// Former is what a cluster has by its record: rootfs and patches, which lie on its hosts, and no bundle. The error says that the
// record has no rootfs.
func Former(recorded *installer.Cluster) (*Payload, error) {
	images := recordedSystem(recorded)
	if len(images) == 0 {
		return nil, fmt.Errorf("the record of cluster %s names no rootfs", recorded.Name)
	}
	return &Payload{Images: images, cluster: recorded}, nil
}

// ReadFromHost tells what files of rootfs and patches, by their path below the rootfs, hold on the hosts of the cluster. It
// is what the cluster has: rendered, and as scripts have changed it.
func (p *Payload) ReadFromHost(files map[string][]byte) {
	for _, i := range p.Read() {
		if !i.Recorded || i.Type != installer.TypeRootfs {
			continue
		}
		i.Files = map[string]File{}
		for name, text := range files {
			i.Files[name] = File{Mode: 0o600, Content: text}
		}
	}
}
