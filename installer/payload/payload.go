// Package payload is what a bundle brings for a cluster: its cluster images in order, their scripts, environments and small
// files, the stubs for the hosts, and the container images. It reads the bundle and asks no host.
//
// [Payload] is what holds for the whole cluster, [Share] what one host has of it.
package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/guest"
)

// Payload is what a bundle brings for a cluster.
type Payload struct {
	Bundle *bundle.Reader
	// Arch is the architecture of the first master, as images name it. It is settled only where the bundle is for several.
	Arch   string
	Images []*Image // for that: rootfs and patches first, then applications, each kind as listed
	// OntoCluster allows a bundle without a rootfs: the cluster of the record has one.
	OntoCluster bool

	cluster  *installer.Cluster
	mu       sync.Mutex
	variants map[string][]*Image // the images of other architectures, each read once for all hosts
	stubs    map[string]Stub     // by architecture
}

// New is the payload of a bundle. It reads nothing yet.
func New(b *bundle.Reader) *Payload { return &Payload{Bundle: b} }

// Load reads the images that c asks for, and their small files. Layers are decoded here for the first time, so their
// digests are verified here.
func (p *Payload) Load(ctx context.Context, c *installer.Cluster) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cluster, p.variants, p.Images = c, map[string][]*Image{}, nil
	images, err := p.read(p.Arch)
	if err != nil {
		return err
	}
	p.Images = images
	return p.readFiles(ctx, images)
}

// Describe reads what the images that c asks for say of themselves, and none of their files: no layer is decoded. Where the bundle
// is for several architectures and none is settled, it takes the first.
func (p *Payload) Describe(c *installer.Cluster) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	arch := p.Arch
	if platforms := p.Bundle.Platforms(); arch == "" && len(platforms) > 1 {
		arch = strings.TrimPrefix(platforms[0], "linux/")
	}
	p.cluster, p.variants = c, map[string][]*Image{}
	images, err := p.read(arch)
	if err == nil {
		p.Images = images
	}
	return err
}

// For gives the images for hosts of an architecture, in the same order as [Payload.Images].
func (p *Payload) For(ctx context.Context, arch string) ([]*Image, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if images, ok := p.variants[arch]; ok {
		return images, nil
	}
	images, err := p.read(arch)
	if err != nil {
		return nil, err
	}
	if err := p.readFiles(ctx, images); err != nil {
		return nil, err
	}
	p.variants[arch] = images
	return images, nil
}

// Read lists the images of all architectures that were read.
func (p *Payload) Read() []*Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.Images)
	for _, images := range p.variants {
		out = append(out, images...)
	}
	return out
}

// read reads what the images of an architecture say about themselves.
func (p *Payload) read(arch string) ([]*Image, error) {
	wanted, err := p.wanted()
	if err != nil {
		return nil, err
	}
	var all []*Image
	for _, b := range wanted {
		if arch != "" && !slices.Contains(b.Platforms, "linux/"+arch) {
			return nil, fmt.Errorf("cluster image %s is in the bundle for %s, not for linux/%s: build it for that platform, too", b.Name, strings.Join(b.Platforms, ", "), arch)
		}
		i, err := loadImage(p.Bundle, b.Name, b.Digest, archOf(b, arch))
		if err != nil {
			return nil, err
		}
		i.Secret, i.Bundled = p.cluster.SecretEnv, b.Digest
		i.Dir = installer.Dir(p.cluster.Name, "rootfs")
		if i.Type == installer.TypeApplication {
			//docs:file masters /var/lib/sealos/data/<cluster>/applications/: application images, on the first master
			i.Dir = installer.Dir(p.cluster.Name, "applications", DirName(i.Name), "workdir")
		}
		all = append(all, i)
	}
	order := map[string]int{installer.TypeRootfs: 0, installer.TypePatch: 1, installer.TypeApplication: 2}
	slices.SortStableFunc(all, func(a, b *Image) int { return order[a.Type] - order[b.Type] })
	rootfs := 0
	for _, i := range all {
		if i.Type == installer.TypeRootfs {
			rootfs++
		}
	}
	if rootfs > 1 {
		return nil, fmt.Errorf("the bundle holds %d rootfs images (label sealos.io.type=rootfs); a cluster is made from exactly one", rootfs)
	}
	if rootfs == 0 && len(all) > 0 {
		return p.onto(all)
	}
	if rootfs == 0 {
		return nil, errors.New("the bundle holds no cluster image")
	}
	return all, nil
}

// wanted are the cluster images to install, in the order in which the operator asked for them; all of the bundle if the
// operator asked for none.
func (p *Payload) wanted() ([]bundle.Image, error) {
	var have []string
	byName := map[string]bundle.Image{}
	for _, b := range p.Bundle.Images() {
		if b.Kind == bundle.KindCluster {
			have = append(have, b.Name)
			byName[b.Name] = b
		}
	}
	names := have
	asked := p.cluster.Images
	if len(asked) == 0 && p.cluster.MadeWith(p.Bundle.IndexDigest().String()) {
		asked = p.cluster.Kept // the same file as before: what was left out of it then is left out now
	}
	// What an earlier bundle brought is in the cluster already.
	asked = slices.DeleteFunc(slices.Clone(asked), func(a string) bool {
		same := func(name string) bool { return SameImage(a, name) }
		return !slices.ContainsFunc(have, same) && slices.ContainsFunc(p.cluster.Kept, same)
	})
	if len(asked) == 0 && len(p.cluster.Images) > 0 {
		return nil, fmt.Errorf("spec.image asks for nothing that this bundle holds, which is %s: add to it what is to be installed", strings.Join(have, ", "))
	}
	if len(asked) > 0 {
		var err error
		if names, err = resolveImages(asked, have); err != nil {
			return nil, err
		}
	}
	var out []bundle.Image
	for _, name := range names {
		out = append(out, byName[name])
	}
	return out, nil
}

func (p *Payload) readFiles(ctx context.Context, images []*Image) error {
	var configured []string
	for _, c := range p.cluster.Configs {
		configured = append(configured, configuredFile(c))
	}
	for _, i := range images {
		if i.Recorded {
			continue // what is known of its files, hosts have told: see ReadFromHost
		}
		files, err := i.ReadFiles(ctx, p.Bundle, configured...)
		if err != nil {
			return err
		}
		i.Files = files
	}
	return nil
}

// Rootfs is the image that Kubernetes itself is in.
func (p *Payload) Rootfs() *Image { return p.Images[0] }

// RootfsDir is the directory of rootfs and patches on hosts.
func (p *Payload) RootfsDir() string { return p.Rootfs().Dir }

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// DirName is the name of an image as part of a path. app:v1 and app-v1 are two images, so a few digits of the name's
// digest tell them apart.
func DirName(image string) string {
	plain := notInNames.ReplaceAllString(image, "-")
	if plain == image {
		return image
	}
	return plain + "-" + digest.FromString(image).Encoded()[:8]
}

// DirName is the image's name as part of a path.
func (i *Image) DirName() string { return DirName(i.Name) }

// VIP is the virtual address: that of the environment, of the rootfs's label, or the default.
func (p *Payload) VIP(c *installer.Cluster) string {
	env := p.clusterEnv(c)
	if v := env["defaultVIP"]; v != "" {
		return v
	}
	if v, err := guest.Expand(p.Rootfs().Labels["vip"], env); err == nil && v != "" && !strings.Contains(v, "$") {
		return v
	}
	return installer.DefaultVIP
}

// clusterEnv is the environment that all hosts have: that of the rootfs, changed by what c says.
func (p *Payload) clusterEnv(c *installer.Cluster) map[string]string {
	return installer.MergeEnv(p.Rootfs().Env, c.Env)
}

// Open gives a layer as it is compressed in the bundle, and the name of the compression, gzip or zstd. So a layer is sent
// without compressing it anew.
func (p *Payload) Open(l Layer) (io.Reader, string, error) {
	switch {
	case l.Gzip():
		blob, err := p.Bundle.OpenBlob(l.Digest)
		return blob, "gzip", err
	case l.Zstd():
		blob, err := p.Bundle.OpenBlob(l.Digest)
		return blob, "zstd", err
	}
	frames, _, err := p.Bundle.OpenZstd(l.Digest)
	return frames, "zstd", err
}

// Travels is how many bytes [Payload.Open] gives of a layer; 0 where the bundle does not hold it.
func (p *Payload) Travels(l Layer) int64 {
	if l.Gzip() || l.Zstd() {
		return l.Size
	}
	info, _ := p.Bundle.Stat(l.Digest)
	return info.StoredSize
}

// RootfsTravels is how many bytes the layers of rootfs and patches that the bundle brings are as they are sent.
func (p *Payload) RootfsTravels() (n int64) {
	for _, i := range p.Brought() {
		if i.Type == installer.TypeApplication {
			continue
		}
		for _, l := range i.Layers {
			n += p.Travels(l)
		}
	}
	return n
}
