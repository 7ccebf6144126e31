package layers

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestListsOfLayersAreReadAsTheyAreWritten(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	q := agent.Layers{Exclude: []string{"b", "a"}, Executable: []string{"."}}
	for _, l := range []layerList{{layers: []digest.Digest{one}}, {settings: settingsOf(q), layers: []digest.Digest{one, two, one}}, {settings: settingsOf(q), layers: []digest.Digest{one}, unpacking: two}, {unpacking: one}} {
		got, ok := parseList(l.text())
		if diff := cmp.Diff(l, got, cmp.AllowUnexported(layerList{})); !ok || diff != "" {
			t.Errorf("%v: %s", ok, diff)
		}
	}
	for _, bad := range []string{"", "layer x\n", "exclude a\n", fmt.Sprintf("unpacking %s\nlayer %s\n", one, two), fmt.Sprintf("layer %s\nexclude a\n", one), "\x00", fmt.Sprintf("layer %s", one)[:60]} {
		if l, ok := parseList([]byte(bad)); ok {
			t.Errorf("%q is taken for %+v", bad, l)
		}
	}
}

func FuzzLayerList(f *testing.F) {
	f.Add([]byte("exclude registry\nexecutable bin\nlayer " + digest.FromString("x").String() + "\nunpacking " + digest.FromString("y").String() + "\n"))
	f.Add([]byte("layer sha256:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, ok := parseList(text)
		if !ok {
			return
		}
		again, ok := parseList(l.text())
		if diff := cmp.Diff(l, again, cmp.AllowUnexported(layerList{})); !ok || diff != "" {
			t.Fatalf("%v: %s", ok, diff)
		}
	})
}
