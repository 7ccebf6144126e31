package kubeadm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDocuments feeds one stream as the image's and the user's documents.
// Whatever it holds, rendering ends with documents or a *ConfigError; and
// documents that came out are read back as what they say.
func FuzzDocuments(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "golden", "*.yaml"))
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, seed := range seeds {
		stream, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stream, true)
		f.Add(stream, false)
	}
	f.Add([]byte(testbedDocs), true)
	f.Fuzz(func(t *testing.T, stream []byte, current bool) {
		_ = CheckFields("fuzz", stream, hintOf) // must end, whatever it says
		in := example(Init)
		if !current {
			in.KubernetesVersion = "v1.28.0"
		}
		in.ImageDocs, in.UserDocs = [][]byte{stream}, [][]byte{stream}
		docs, err := Render(in)
		if err != nil {
			var config *ConfigError
			if !errors.As(err, &config) {
				t.Fatalf("error %v is not a *ConfigError", err)
			}
			return
		}
		first, err := docs.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseLayer("own", [][]byte{first}); err != nil {
			t.Fatalf("own documents are not read back: %v\n%s", err, first)
		}
		// What both layers say acts as if one had said it.
		in.ImageDocs = nil
		if diff := cmp.Diff(render(t, in), string(first)); diff != "" {
			t.Fatalf("one layer and two equal ones differ (-one +two):\n%s", diff)
		}
	})
}
