package ocigraph

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestPlatformChoice(t *testing.T) {
	p := func(s string) v1.Descriptor {
		parts := append(strings.Split(s, "/"), "")
		return v1.Descriptor{Platform: &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}, Digest: digest.FromBytes([]byte(s))}
	}
	index := []v1.Descriptor{p("unknown/unknown"), p("linux/arm/v6"), p("linux/arm64/v9"), p("linux/arm64/v8"), p("linux/amd64"), p("linux/arm/v7"), {}}
	for _, tc := range []struct {
		want v1.Platform
		got  string
	}{
		{v1.Platform{OS: "linux", Architecture: "amd64"}, "linux/amd64"},
		{v1.Platform{OS: "linux", Architecture: "arm64"}, "linux/arm64/v8"},
		{v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, "linux/arm/v7"},
		{v1.Platform{OS: "linux", Architecture: "arm"}, "linux/arm/v7"},
	} {
		if at := Choose(index, tc.want); at < 0 || index[at].Digest != digest.FromString(tc.got) {
			t.Errorf("%v: chose entry %d, want %s", tc.want, at, tc.got)
		}
	}
	if at := Choose(index, v1.Platform{OS: "linux", Architecture: "s390x"}); at >= 0 {
		t.Errorf("chose entry %d for a platform that is not there", at)
	}
}

func TestEntriesOfAnIndexAreBounded(t *testing.T) {
	b := blobs{}
	unnamed := func(d v1.Descriptor) v1.Descriptor {
		d.Platform = nil
		return d
	}
	of := Platforms{Load: b.load, Of: func(v1.Descriptor) (v1.Platform, error) { return v1.Platform{OS: "linux", Architecture: "amd64"}, nil }}
	list := func(root v1.Descriptor) error {
		m, err := b.load(root)
		if err != nil {
			t.Fatal(err)
		}
		_, err = of.Entries(root, m)
		return err
	}
	var many []v1.Descriptor
	for i := range MaxUnnamed + 1 {
		many = append(many, unnamed(b.image(t, v1.MediaTypeImageManifest, fmt.Sprint("config ", i))))
	}
	if err := list(b.index(t, v1.MediaTypeImageIndex, many[:MaxUnnamed]...)); err != nil {
		t.Error(err)
	}
	if err := list(b.index(t, v1.MediaTypeImageIndex, many...)); err == nil {
		t.Error("an index of more images without a platform than are read is taken")
	}
	if err := list(b.nested(t, MaxNesting)); err != nil {
		t.Error(err)
	}
	beyond := new(LimitError)
	if err := list(b.nested(t, MaxNesting+1)); !errors.As(err, &beyond) {
		t.Errorf("nested too deep: error is %v, want *LimitError", err)
	}
}
