package registry

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// upstreamTool finds a program of containerd's release where the test bed keeps it, or on the PATH.
func upstreamTool(t *testing.T, name string) string {
	t.Helper()
	if home, err := os.UserHomeDir(); err == nil {
		for _, dir := range []string{"cri", "cri/bin", "bin"} {
			path := filepath.Join(home, ".cache/sealbuild-test/upstream-current", dir, name)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return tool(t, name)
}

// containerd asks the mirror for every registry's images and says with ns which it means. HEAD by tag, GET by digest, and the
// same tag at two registries must come out right.
func TestContainerdPullsThroughTheMirror(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	daemon, ctr := upstreamTool(t, "containerd"), upstreamTool(t, "ctr")
	src, c := realSamples(t)
	more, err := catalog.Build(t.Context(), []catalog.Ref{{Name: "quay.io/pause:3.10", Digest: src.Image("another pause", []byte("x")).Digest}}, src)
	if err != nil {
		t.Fatal(err)
	}
	c.Repositories = append(c.Repositories, more.Repositories...)
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var spaces []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		spaces = append(spaces, r.URL.Query().Get("ns"))
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	defer s.Close()

	dir, err := os.MkdirTemp("", "ctrd") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	hosts := filepath.Join(dir, "certs.d")
	if err := os.MkdirAll(filepath.Join(hosts, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", s.URL, s.URL)
	if err := os.WriteFile(filepath.Join(hosts, "_default/hosts.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := startContainerd(t, daemon, dir)
	digests := map[string]string{}
	for _, r := range c.Repositories {
		for tag, d := range r.Tags {
			digests[r.Name+":"+tag] = d.String()
		}
	}
	for _, image := range []string{"registry.k8s.io/pause:3.10", "quay.io/pause:3.10", "docker.io/library/nginx:1.29"} {
		out := run(t, ctr, "--address", socket, "-n", "test", "content", "fetch", "--all-platforms", "--hosts-dir", hosts, image)
		list := run(t, ctr, "--address", socket, "-n", "test", "images", "ls")
		if !strings.Contains(list, digests[image]) {
			t.Errorf("%s: %s is not among\n%s\n%s", image, digests[image], list, out)
		}
	}
	slices.Sort(spaces)
	if got := slices.Compact(spaces); !slices.Contains(got, "quay.io") {
		t.Errorf("containerd asked for the namespaces %v", got)
	}
}

func startContainerd(t *testing.T, daemon, dir string) string {
	t.Helper()
	socket := filepath.Join(dir, "s")
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), daemon, "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Skipf("containerd does not run here: %s", log.String())
		case <-ctx.Done():
			t.Fatalf("containerd does not start: %s", log.String())
		}
	}
}

func run(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, out)
	}
	return string(out)
}
