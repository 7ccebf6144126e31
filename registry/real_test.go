package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// The tests of this file run the real programs of others against ours; they are skipped where those are missing.

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "skopeo"), append([]string{"--insecure-policy"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// realSamples has images whose layers are gzip, as clients expect of layers with that type.
func realSamples(t *testing.T) (registrytest.Source, catalog.Catalog) {
	t.Helper()
	m := registrytest.Source{}
	layer := func(seed uint64) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(registrytest.Random(seed, 200_000))
		z.Close()
		return b.Bytes()
	}
	c, err := catalog.Build(t.Context(), []catalog.Ref{
		{Name: "registry.k8s.io/pause:3.10", Digest: m.Index(m.Image("pause", layer(1))).Digest},
		{Name: "nginx:1.29", Digest: m.Image("nginx", layer(1), layer(2)).Digest},
	}, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// blobsOf lists the files of a skopeo dir: copy that are blobs or manifests.
func copied(t *testing.T, dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSkopeoPullsInPlace(t *testing.T) {
	src, c := realSamples(t)
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	for _, image := range []string{"registry.k8s.io/pause:3.10", "pause:3.10", "library/nginx:1.29", "nginx:1.29"} {
		dir := t.TempDir()
		skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://"+host+"/"+image, "dir:"+dir)
		if copied(t, dir) < 4 {
			t.Errorf("%s: %d files", image, copied(t, dir))
		}
	}
	var tags struct{ Tags []string }
	if err := json.Unmarshal([]byte(skopeo(t, "list-tags", "--tls-verify=false", "docker://"+host+"/pause")), &tags); err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags %v, %v", tags, err)
	}
}

// Debian's docker-registry serves a tree that Receive wrote: the layout is the real one.
func TestDockerRegistryServesAReceivedStore(t *testing.T) {
	tool(t, "docker-registry")
	src, c := realSamples(t)
	root := t.TempDir()
	mustFill(t, c, src, disk.Open(root))
	addr := dockerRegistry(t, root)
	for _, image := range []string{"registry.k8s.io/pause:3.10", "docker.io/library/nginx:1.29"} {
		skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://"+addr+"/"+image, "dir:"+t.TempDir())
	}
	_, body := registrytest.Get(t, "http://"+addr+"/v2/_catalog")
	if !strings.Contains(body, `"docker.io/library/nginx","registry.k8s.io/pause"`) {
		t.Errorf("catalog: %s", body)
	}
}

// A tree that docker-registry wrote is read, pushed on, and served by a configuration file with TLS and an account.
func TestConfigurationServesATreeOfDockerRegistry(t *testing.T) {
	tool(t, "docker-registry")
	src, c := realSamples(t)
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	in := httptest.NewServer(h)
	defer in.Close()
	root := t.TempDir()
	addr := dockerRegistry(t, root)
	for _, image := range []string{"registry.k8s.io/pause:3.10", "docker.io/library/nginx:1.29"} {
		skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+strings.TrimPrefix(in.URL, "http://")+"/"+image, "docker://"+addr+"/"+image)
	}
	read, err := disk.Open(root).Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registrytest.SortedBlobs(c), registrytest.SortedBlobs(read)); diff != "" {
		t.Errorf("catalog of docker-registry's tree (-want +got):\n%s", diff)
	}

	dir, host := t.TempDir(), freeAddress(t)
	config := writeConfig(t, dir, root, host)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeConfig(ctx, config) }()
	awaitPort(t, host)
	certs := dir + "/certs"
	for _, image := range []string{"registry.k8s.io/pause:3.10", "pause:3.10", "nginx:1.29"} {
		skopeo(t, "copy", "--all", "--preserve-digests", "--src-cert-dir="+certs, "--src-creds=admin:secret", "docker://"+host+"/"+image, "dir:"+t.TempDir())
	}
	// Pushing works too, and a short name is a repository of its own then, even though blobs of that path exist elsewhere.
	skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-cert-dir="+certs, "--dest-creds=admin:secret",
		"docker://"+strings.TrimPrefix(in.URL, "http://")+"/pause:3.10", "docker://"+host+"/pause:mine")
	skopeo(t, "copy", "--all", "--src-cert-dir="+certs, "--src-creds=admin:secret", "docker://"+host+"/pause:mine", "dir:"+t.TempDir())
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func dockerRegistry(t *testing.T, root string) string {
	t.Helper()
	addr := freeAddress(t)
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", root, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "docker-registry"), "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitPort(t, addr)
	return addr
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitPort(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "tcp", addr); err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nothing listens at %s", addr)
		}
	}
}
