package store

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
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
		return v1.Platform{}, fmt.Errorf("platform %q: expected OS/ARCH, as linux/amd64 or linux/arm64", text)
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

// FormatPlatforms writes a list as ParsePlatforms reads it.
func FormatPlatforms(all []v1.Platform) string {
	var names []string
	for _, p := range all {
		names = append(names, Platform(p))
	}
	return strings.Join(names, ",")
}

// Platform writes a platform as docker does: linux/arm64/v8.
func Platform(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// SameFamily tells whether one of have is want with another variant.
func SameFamily(have []string, want string) bool {
	return slices.ContainsFunc(have, func(h string) bool {
		return strings.HasPrefix(h, want+"/") || strings.HasPrefix(want, h+"/")
	})
}

// PlatformOf reads what Platform wrote.
func PlatformOf(text string) *v1.Platform {
	parts := append(strings.SplitN(text, "/", 3), "", "")
	return &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

// Choose is the manifest of an index that containerd takes on a host: the best match, of equal ones the first, and without a match
// the first that says no platform.
func Choose(host v1.Platform, index []v1.Descriptor) (v1.Descriptor, bool) {
	matches := platforms.Only(host)
	var best *v1.Descriptor
	for i, d := range index {
		if d.Platform != nil && matches.Match(*d.Platform) && (best == nil || matches.Less(*d.Platform, *best.Platform)) {
			best = &index[i]
		}
	}
	if best == nil {
		i := slices.IndexFunc(index, func(d v1.Descriptor) bool { return d.Platform == nil })
		if i < 0 {
			return v1.Descriptor{}, false
		}
		best = &index[i]
	}
	return *best, true
}
