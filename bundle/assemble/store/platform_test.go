package store

import (
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// What is pulled of an index, while a bundle is made, is what containerd will ask for on the hosts.
func TestPlatformsAreChosenAsContainerdDoes(t *testing.T) {
	entries := []string{
		"linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/arm64/v8", "linux/arm64/v9", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm", "linux/s390x",
	}
	hosts := []string{"linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/arm64/v8", "linux/arm", "linux/arm/v7", "linux/s390x"}
	descriptor := func(name string) v1.Descriptor { return v1.Descriptor{Platform: PlatformOf(name)} }
	for _, one := range entries {
		for _, two := range entries {
			for _, three := range entries {
				index := []v1.Descriptor{descriptor(one), descriptor(two), descriptor(three)}
				for _, host := range hosts {
					at := ocigraph.Choose(index, *PlatformOf(host))
					want, ok := Choose(*PlatformOf(host), index)
					if !ok || want.Platform.Architecture != PlatformOf(host).Architecture {
						continue // containerd takes none, or another architecture that the host can run
					}
					if at < 0 || Platform(*index[at].Platform) != Platform(*want.Platform) {
						t.Errorf("a host of %s takes %s of %s, %s and %s, and entry %d is chosen", host, Platform(*want.Platform), one, two, three, at)
					}
				}
			}
		}
	}
}
