// Command mkimage turns programs built from published modules and files of
// Debian packages into the container images that a Kubernetes cluster pulls,
// as one OCI image layout. The same inputs give the same bytes, so digests
// stay put from one machine to the next.
//
// The input directory holds programs/<arch>/…, debian/… (extracted packages)
// and ca-certificates.crt; for the set conformance also e2e/… (pictures and
// keys of Kubernetes' test images) and applets.txt. Versions come from the environment:
// KUBERNETES_TAG, ETCD_TAG, COREDNS_TAG, PAUSE_TAG, FLANNEL_TAG,
// FLANNEL_CNI_TAG, BUSYBOX_TAG.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

func main() {
	log.SetFlags(0)
	input := flag.String("input", "", "directory with programs/, debian/ and ca-certificates.crt")
	set := flag.String("set", "cluster", "what to make: cluster, or conformance (the images of Kubernetes' own tests)")
	output := flag.String("output", "", "directory that becomes the image layout")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	list, err := selected(*set)
	if err == nil {
		err = write(ctx, list, *input, *output, runtime.GOARCH)
	}
	if err != nil {
		log.Fatal("mkimage: ", err)
	}
}

// selected are the images of a set.
func selected(set string) ([]image, error) {
	switch set {
	case "cluster":
		tags, err := tagsFrom(os.LookupEnv)
		return images(tags), err
	case "conformance":
		return conformanceImages(), nil
	}
	return nil, fmt.Errorf("there is no set %q", set)
}

// tagsFrom reads every tag and names all that are missing at once.
func tagsFrom(lookup func(string) (string, bool)) (versions, error) {
	var missing []error
	get := func(name string) string {
		value, ok := lookup(name)
		if !ok || value == "" {
			missing = append(missing, fmt.Errorf("environment variable %s is not set", name))
		}
		return value
	}
	tags := versions{
		kubernetes: get("KUBERNETES_TAG"),
		etcd:       get("ETCD_TAG"),
		coredns:    get("COREDNS_TAG"),
		pause:      get("PAUSE_TAG"),
		flannel:    get("FLANNEL_TAG"),
		flannelCNI: get("FLANNEL_CNI_TAG"),
		busybox:    get("BUSYBOX_TAG"),
	}
	return tags, errors.Join(missing...)
}

// layerCache builds a layer that several images share once.
type layerCache struct {
	mutex sync.Mutex
	known []*cachedLayer
}

type cachedLayer struct {
	spec  layer
	arch  string
	once  sync.Once
	built builtLayer
	err   error
}

func (c *layerCache) get(l *layout, spec layer, arch string) (builtLayer, error) {
	entry := c.entry(spec, arch)
	entry.once.Do(func() { entry.built, entry.err = l.buildLayer(spec, arch) })
	return entry.built, entry.err
}

func (c *layerCache) entry(spec layer, arch string) *cachedLayer {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, candidate := range c.known {
		if candidate.arch == arch && reflect.DeepEqual(candidate.spec, spec) {
			return candidate
		}
	}
	entry := &cachedLayer{spec: spec, arch: arch}
	c.known = append(c.known, entry)
	return entry
}

// write makes every image, as many at a time as there are processors.
func write(ctx context.Context, list []image, input, output, hostArch string) error {
	l, err := newLayout(output, input)
	if err != nil {
		return err
	}
	var cache layerCache
	named := make([]v1.Descriptor, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, img := range list {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			descriptor, err := writeImage(l, &cache, img, hostArch)
			if err != nil {
				return fmt.Errorf("image %s: %w", img.name, err)
			}
			descriptor.Annotations = map[string]string{v1.AnnotationRefName: img.name}
			named[i] = descriptor
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return l.finish(named)
}

func writeImage(l *layout, cache *layerCache, img image, hostArch string) (v1.Descriptor, error) {
	arches := img.arches
	if len(arches) == 0 {
		arches = []string{hostArch}
	}
	var manifests []v1.Descriptor
	for _, arch := range arches {
		var layers []builtLayer
		for _, spec := range img.layers {
			built, err := cache.get(l, spec, arch)
			if err != nil {
				return v1.Descriptor{}, err
			}
			layers = append(layers, built)
		}
		manifest, err := l.putImage(img, arch, layers)
		if err != nil {
			return v1.Descriptor{}, err
		}
		manifests = append(manifests, manifest)
	}
	if len(img.arches) > 0 {
		return l.putIndex(manifests)
	}
	return manifests[0], nil
}
