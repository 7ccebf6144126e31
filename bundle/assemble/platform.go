package assemble

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ParsePlatform reads linux/arm64 or linux/arm/v7; empty is linux on this
// machine's architecture.
func ParsePlatform(text string) (v1.Platform, error) {
	if text == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	if strings.Contains(text, ",") {
		return v1.Platform{}, fmt.Errorf("platform %q: one platform per bundle is supported; build one bundle for each", text)
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
