package assemble

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/oldpackage"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/test/detector"
)

// oldPackage lays out an offline package of the older kind in kube/.
func oldPackage(t *testing.T) string {
	t.Helper()
	var runtime bytes.Buffer
	w := tar.NewWriter(&runtime)
	if err := w.WriteHeader(&tar.Header{Name: "usr/local/bin/containerd", Typeflag: tar.TypeReg, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return storetest.Files(t, map[string][]byte{
		"kube/bin/kubeadm": []byte("kubeadm"), "kube/bin/kubelet": []byte("kubelet"), "kube/bin/kubectl": []byte("kubectl"),
		"kube/images/images.tar":    dockerArchive(t, "registry.k8s.io/kube-apiserver:v1.30.1", "amd64", string(layerTar(t, "apiserver"))),
		"kube/docker/c.tar":         runtime.Bytes(),
		"kube/conf/kubeadm.yaml":    []byte("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.1\n"),
		"kube/conf/kubelet.service": []byte("[Service]\n"),
		"kube/shell/init.sh":        []byte("cp ../bin/* /usr/bin\ndocker load -i ../images/images.tar\n"),
	})
}

func TestAnOldPackageIsBuilt(t *testing.T) {
	detector.Whole(t)
	b, _ := connected(t, nil)
	n := b.Report.(*notes)
	request := BuildRequest{Name: "old:v1", Platforms: []v1.Platform{amd64}, Context: oldPackage(t)}
	rec := mustBuild(t, b, request)
	if diff := cmp.Diff([]string{"registry.k8s.io/kube-apiserver:v1.30.1"}, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if rec.ClusterType != "rootfs" {
		t.Errorf("it is a %s", rec.ClusterType)
	}
	config, err := b.Store.Config(rec.Manifest, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Config.Labels["version"]; got != "v1.30.1" {
		t.Errorf("version %q", got)
	}
	dir := extracted(t, b.Store, rec.Manifest)
	for name, want := range map[string]string{
		"bin/kubeadm": "kubeadm", "conf/kubelet.service": "[Service]\n", "etc/old-package-images": "registry.k8s.io/kube-apiserver:v1.30.1\n",
		"shell/init.sh": "cp ../bin/* /usr/bin\ntrue docker load -i ../images/images.tar\n",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(text) != want {
			t.Errorf("%s holds %q (%v), want %q", name, text, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "images")); err == nil {
		t.Error("the archives of images are held twice")
	}
	if !slices.ContainsFunc(n.text, func(s string) bool {
		return strings.Contains(s, `"docker load -i ../images/images.tar" does nothing any more`)
	}) {
		t.Errorf("told: %q", n.text)
	}
	if i := slices.IndexFunc(rec.Inputs, func(i store.Input) bool { return i.Kind == "kubefile" }); rec.Inputs[i].Name != oldpackage.Name {
		t.Errorf("the record names the Kubefile %s, which lies elsewhere in every build", rec.Inputs[i].Name)
	}
	// The same package, elsewhere: the same image.
	request.Context = oldPackage(t)
	if again := mustBuild(t, b, request); again.Manifest.Digest != rec.Manifest.Digest {
		t.Error("the same package gives another image")
	}
}

func TestAnOldPackageThatCannotInstallIsNotBuilt(t *testing.T) {
	b, _ := newBuilder(t)
	dir := oldPackage(t)
	if err := os.RemoveAll(filepath.Join(dir, "kube/docker")); err != nil {
		t.Fatal(err)
	}
	_, err := b.Build(t.Context(), BuildRequest{Name: "old:v1", Platforms: []v1.Platform{amd64}, Context: dir})
	if err == nil || !strings.Contains(err.Error(), "brings no container runtime") {
		t.Errorf("%v", err)
	}
	if all, err := b.Store.List(); err != nil || len(all) > 0 {
		t.Errorf("recorded: %v (%v)", all, err)
	}
}

// extracted unpacks the layers of an image.
func extracted(t *testing.T, s *store.Store, root v1.Descriptor) string {
	t.Helper()
	m, err := ocigraph.Read(s, root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, l := range m.Layers {
		layer, err := s.ReadBlob(l.Digest, l.Size)
		if err != nil {
			t.Fatal(err)
		}
		unpackLayer(t, layer, dir)
	}
	return dir
}
