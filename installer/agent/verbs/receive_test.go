package verbs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/storesync"
	"github.com/sealbuild/sealbuild/test/sourcetest"
)

func smallImage(t *testing.T) (catalog.Catalog, catalog.Source) {
	t.Helper()
	src := sourcetest.Blobs{}
	add := func(content []byte) v1.Descriptor {
		return v1.Descriptor{Digest: src.Add(content), Size: int64(len(content))}
	}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = add([]byte("{}"))
	m.Config.MediaType = v1.MediaTypeImageConfig
	layer := add(bytes.Repeat([]byte("layer"), 1<<20))
	layer.MediaType = v1.MediaTypeImageLayer
	m.Layers = []v1.Descriptor{layer}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	manifest := add(text)
	c, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "registry.k8s.io/pause:3.10", Digest: manifest.Digest}}, src)
	if err != nil {
		t.Fatal(err)
	}
	return c, src
}

func TestImagesArePushedIntoAHostsStore(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		c, src := smallImage(t)
		root := filepath.Join(t.TempDir(), "registry")
		for i, want := range []int{3, 0} {
			var got storesync.Receipt
			err := a.RegistryReceive(t.Context(), root, func(w io.Writer, r io.Reader) (err error) {
				got, err = storesync.Push(t.Context(), w, r, c, src, storesync.PushOptions{})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.BlobsSent != want {
				t.Errorf("push %d: %d blobs sent, want %d", i, got.BlobsSent, want)
			}
		}
		if _, err := os.Stat(filepath.Join(root, "docker/registry/v2/repositories/registry.k8s.io/pause/_manifests/tags/3.10/current/link")); err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyARegistryThatWasNotThereIsMarkedAsOurs(t *testing.T) {
	a := agenttest.Local(t)
	push := func(root string) string {
		t.Helper()
		mark := func() string {
			text, err := os.ReadFile(filepath.Join(root, ".sealos-registry"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			return string(text)
		}
		c, src := smallImage(t)
		var first string
		err := a.RegistryReceive(t.Context(), root, func(w io.Writer, r io.Reader) error {
			first = mark()
			_, err := storesync.Push(t.Context(), w, r, c, src, storesync.PushOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if last := mark(); last != first {
			t.Errorf("%s: mark %q before the first blob, %q after the last", root, first, last)
		}
		return first
	}
	fresh := filepath.Join(t.TempDir(), "data", "registry")
	for i := range 2 {
		if got := push(fresh); got != verbs.MarkText {
			t.Errorf("push %d into a new registry: mark %q", i, got)
		}
	}
	disk := t.TempDir()
	filestest.Write(t, filepath.Join(disk, "lost+found", "x"), "", 0o600)
	if got := push(disk); got != verbs.MarkText {
		t.Errorf("a directory without a registry: mark %q", got)
	}
	if got := push(t.TempDir()); got != verbs.MarkText+verbs.MarkBefore {
		t.Errorf("an empty directory of the site: mark %q", got)
	}
	foreign := t.TempDir()
	filestest.Write(t, filepath.Join(foreign, verbs.RegistryTree, "repositories", "docker.io", "x", "link"), "", 0o644)
	for i := range 2 {
		if got := push(foreign); got != "" {
			t.Errorf("push %d into somebody's registry: mark %q", i, got)
		}
	}
}

func TestFailureOfEitherEndOfAPushIsTold(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		broken := errors.New("disk fell off")
		err := a.RegistryReceive(t.Context(), t.TempDir(), func(io.Writer, io.Reader) error { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		file := filepath.Join(t.TempDir(), "file")
		filestest.Write(t, file, "", 0o600)
		c, src := smallImage(t)
		err = a.RegistryReceive(t.Context(), filepath.Join(file, "below"), func(w io.Writer, r io.Reader) error {
			_, err := storesync.Push(t.Context(), w, r, c, src, storesync.PushOptions{})
			return err
		})
		if err == nil {
			t.Error("a store below a file was filled")
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = a.RegistryReceive(ctx, t.TempDir(), func(_ io.Writer, r io.Reader) error {
			cancel()
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
