package assemble

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// ParsePlatform reads linux/arm64 or linux/arm/v7; empty is linux on this machine's architecture.
func ParsePlatform(text string) (v1.Platform, error) {
	if text == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	if strings.Contains(text, ",") {
		return v1.Platform{}, fmt.Errorf("platform %q: one platform is expected here", text)
	}
	if !strings.Contains(text, "/") {
		return v1.Platform{}, fmt.Errorf("platform %q: expected OS/ARCH, as linux/amd64 or linux/arm64", text)
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("platform %q: expected OS/ARCH, as linux/amd64 or linux/arm64: %w", text, err)
	}
	if p.OS != "linux" {
		return v1.Platform{}, fmt.Errorf("platform %q: clusters run on linux only", text)
	}
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

// ParsePlatforms reads a comma list of platforms, each once.
func ParsePlatforms(text string) ([]v1.Platform, error) {
	var all []v1.Platform
	for one := range strings.SplitSeq(text, ",") {
		if text != "" && strings.TrimSpace(one) == "" {
			return nil, fmt.Errorf("platform %q: an empty entry in the list", text)
		}
		p, err := ParsePlatform(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Architecture == p.Architecture {
				return nil, fmt.Errorf("platform %q: %s is in the list twice", text, p.Architecture)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// formatPlatforms writes a list as ParsePlatforms reads it.
func formatPlatforms(all []v1.Platform) string {
	var names []string
	for _, p := range all {
		names = append(names, store.Platform(p))
	}
	return strings.Join(names, ",")
}
