package clusterimages_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	fakeKubelet = "#!/bin/sh\necho Kubernetes v1.36.3\n"
	fakeKubeadm = "#!/bin/sh\necho registry.k8s.io/pause:3.10.2\n"
)

var cniPlugins = []string{"bridge", "host-local", "loopback", "portmap"}

// workshop is a copy of the kubernetes image's fetch.sh and what it needs, with
// a cache of its own.
func workshop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"fetch-lib.sh", "checksums.txt", "kubernetes/fetch.sh", "kubernetes/versions.txt"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(content))
	}
	return dir
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "kubernetes", "fetch.sh")}, args...)...)
	cmd.Env = append(os.Environ(), "SEALBUILD_FETCH_CACHE="+filepath.Join(dir, "cache"), "no_proxy=127.0.0.1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tree lists the files below dir.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFetchTakesProgramsFromADirectory(t *testing.T) {
	t.Parallel()
	dir, from := workshop(t), t.TempDir()
	for name, content := range map[string]string{
		"bin/kubeadm": fakeKubeadm, "bin/kubelet": fakeKubelet, "bin/kubectl": "x", "bin/kube-apiserver": "x",
		"cri/containerd": "x", "cri/containerd-shim-runc-v2": "x", "cri/ctr": "x", "cri/runc": "x",
		"cni/bridge": "x", "cni/host-local": "x", "cni/loopback": "x", "cni/portmap": "x",
	} {
		write(t, filepath.Join(from, name), content)
	}
	for range 2 { // the second run takes the place of the first
		if out, err := fetch(t, dir, "--from", from); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	want := []string{
		"bin/kubeadm", "bin/kubectl", "bin/kubelet", "cni/bridge", "cni/host-local", "cni/loopback", "cni/portmap",
		"cri/containerd", "cri/containerd-shim-runc-v2", "cri/ctr", "cri/runc",
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dir, "kubernetes", "files", runtime.GOARCH))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	list, err := os.ReadFile(filepath.Join(dir, "kubernetes", "images", "shim", "DefaultImageList"))
	if err != nil || string(list) != "registry.k8s.io/pause:3.10.2\n" {
		t.Errorf("image list %q, %v", list, err)
	}
	if out, err := fetch(t, dir, "--from", from, "--version", "v1.35.4"); err == nil || !strings.Contains(out, "kubelet is v1.36.3, not v1.35.4") {
		t.Errorf("programs of another version: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(from, "cri", "runc")); err != nil {
		t.Fatal(err)
	}
	if out, err := fetch(t, dir, "--from", from); err == nil || !strings.Contains(out, "cri/runc is missing") {
		t.Errorf("a missing program: %v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "kubernetes", "files", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// upstream serves fake release files and writes the checksums that pin them.
type upstream struct {
	mu    sync.Mutex
	files map[string][]byte
	asked []string
	sums  string
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	content, ok := u.files[r.URL.Path]
	u.asked = append(u.asked, r.URL.Path+" "+r.Header.Get("Range"))
	u.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// requests gives what was asked for so far. A race detector sees no order
// between a program that ended and the request it made.
func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

func (u *upstream) replace(path string, content []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files[path] = content
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	plugins := map[string]string{"LICENSE": "x"}
	for _, name := range cniPlugins {
		plugins[name] = name
	}
	u := &upstream{files: map[string][]byte{
		"/kubeadm v1.36.3": []byte(fakeKubeadm),
		"/kubelet v1.36.3": []byte(fakeKubelet),
		"/kubectl v1.36.3": []byte("kubectl"),
		"/runc v1.4.3":     []byte("runc"),
		"/containerd v2.3.4": archive(t, map[string]string{
			"bin/containerd": "c", "bin/containerd-shim-runc-v2": "s", "bin/ctr": "t", "bin/containerd-stress": "not wanted",
		}),
		"/cni v1.9.1":     archive(t, plugins),
		"/crictl v1.36.0": archive(t, map[string]string{"crictl": "crictl"}),
	}}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	var sums strings.Builder
	for path, content := range u.files {
		name, version, _ := strings.Cut(path[1:], " ")
		fmt.Fprintf(&sums, "%s %s %s %x %s/%s%%20%s\n", name, version, runtime.GOARCH, sha256.Sum256(content), server.URL, name, version)
	}
	u.sums = filepath.Join(t.TempDir(), "checksums.txt")
	write(t, u.sums, sums.String())
	return u
}

func TestFetchDownloadsWhatIsPinnedOnce(t *testing.T) {
	t.Parallel()
	dir, u := workshop(t), newUpstream(t)
	if out, err := fetch(t, dir, "--checksums", u.sums); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{
		"bin/crictl", "bin/kubeadm", "bin/kubectl", "bin/kubelet", "cni/bridge", "cni/host-local", "cni/loopback",
		"cni/portmap", "cri/containerd", "cri/containerd-shim-runc-v2", "cri/ctr", "cri/runc",
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dir, "kubernetes", "files", runtime.GOARCH))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	asked := len(u.requests())
	if out, err := fetch(t, dir, "--checksums", u.sums); err != nil || len(u.requests()) != asked {
		t.Errorf("second run: %v, %d requests\n%s", err, len(u.requests())-asked, out)
	}
}

func TestFetchRefusesAFileThatDiffersFromItsChecksum(t *testing.T) {
	t.Parallel()
	dir, u := workshop(t), newUpstream(t)
	u.replace("/kubelet v1.36.3", []byte("#!/bin/sh\necho Kubernetes v1.36.3 # not the one\n"))
	out, err := fetch(t, dir, "--checksums", u.sums)
	if err == nil || !strings.Contains(out, "is pinned in") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "kubernetes", "files", runtime.GOARCH)); err == nil {
		t.Error("the image's files were written all the same")
	}
	for _, name := range tree(t, filepath.Join(dir, "cache")) {
		if strings.HasSuffix(name, ".part") {
			t.Errorf("the wrong file was kept as %s", name)
		}
	}
}

func TestFetchContinuesAnInterruptedDownload(t *testing.T) {
	t.Parallel()
	dir, u := workshop(t), newUpstream(t)
	part := filepath.Join(dir, "cache", fmt.Sprintf("%x.part", sha256.Sum256([]byte(fakeKubelet))))
	write(t, part, fakeKubelet[:10])
	if out, err := fetch(t, dir, "--checksums", u.sums); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if asked := strings.Join(u.requests(), "\n"); !strings.Contains(asked, "/kubelet v1.36.3 bytes=10-") {
		t.Errorf("requests:\n%s", asked)
	}
}

func TestFetchStartsAnewWhenWhatWasLeftIsWrong(t *testing.T) {
	t.Parallel()
	dir, u := workshop(t), newUpstream(t)
	write(t, filepath.Join(dir, "cache", fmt.Sprintf("%x.part", sha256.Sum256([]byte(fakeKubelet)))), "rubbish")
	if out, err := fetch(t, dir, "--checksums", u.sums); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFetchRefusesWhatIsNotPinned(t *testing.T) {
	t.Parallel()
	dir := workshop(t)
	for arg, want := range map[string]string{"v1.34.99": "no pinned checksum of kubeadm v1.34.99", "v1.27.1": "older than v1.28", "latest": "not a Kubernetes version"} {
		if out, err := fetch(t, dir, "--version", arg); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", arg, err, out)
		}
	}
}
