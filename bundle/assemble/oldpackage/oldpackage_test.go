package oldpackage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/cluster-images/kubernetes"
	"github.com/sealbuild/sealbuild/kubefile"
)

// packed is a tar of files, gzipped.
func packed(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(files[name])), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// saved is an archive of images as docker writes it, as far as their names.
func saved(t *testing.T, refs ...string) string {
	t.Helper()
	var all []map[string]any
	for _, ref := range refs {
		all = append(all, map[string]any{"Config": "c.json", "RepoTags": []string{ref}, "Layers": []string{}})
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, map[string]string{"manifest.json": string(raw)})
}

// aPackage is a whole one, with containerd in Docker's place.
func aPackage(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"bin/kubeadm": "a", "bin/kubelet": "b", "bin/kubectl": "c",
		"images/images.tar.gz":     saved(t, "registry.k8s.io/kube-apiserver:v1.30.1", "registry.k8s.io/pause:3.9", "example.com/app:1"),
		"docker/containerd.tar.gz": packed(t, map[string]string{"usr/local/bin/containerd": "x", "etc/systemd/system/containerd.service": "y"}),
		"conf/kubelet.service":     "[Service]\n",
		"conf/kubeadm.yaml":        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.1\n",
		"shell/init.sh":            "bash containerd.sh\nctr -n k8s.io images import ../images/images.tar || true\ncp ../bin/* /usr/bin\ncp ../extra/x /\n",
		"shell/containerd.sh":      "tar xzf ../docker/containerd.tar.gz -C /\n",
		"shell/master.sh":          "kubeadm init\nkubectl apply -f ../conf/net.yaml\n",
		"Metadata":                 `{"k8sVersion": "v1.30.1"}`,
		"README.md":                "words", "extra/x": "x", "more/y": "y",
	}
}

func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustMake(t *testing.T, dir string) *Made {
	t.Helper()
	m, err := Make(t.Context(), dir, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if m == nil {
		t.Fatalf("%s is no package", dir)
	}
	return m
}

func parsed(t *testing.T, m *Made) *kubefile.File {
	t.Helper()
	k, err := kubefile.Parse(bytes.NewReader(m.Text), Name)
	if err != nil {
		t.Fatalf("%v in\n%s", err, m.Text)
	}
	return k
}

// copies are the paths of the package that are copied, and documents the files that are written in the Kubefile.
func copies(k *kubefile.File) (paths []string, documents map[string]string) {
	documents = map[string]string{}
	for _, in := range k.Instructions {
		switch {
		case in.Name != "COPY":
		case len(in.Heredocs) > 0:
			target := in.Args[len(in.Args)-1]
			for _, h := range in.Heredocs {
				if strings.HasSuffix(target, "/") {
					documents[target+h.Name] = h.Content
				} else {
					documents[target] = h.Content
				}
			}
		default:
			paths = append(paths, in.Args...)
		}
	}
	return paths, documents
}

func TestAPackageBecomesARootfs(t *testing.T) {
	m := mustMake(t, lay(t, aPackage(t)))
	k := parsed(t, m)
	if diff := cmp.Diff(map[string]string{
		"sealos.io.type": "rootfs", "sealos.io.version": "v1beta2", "version": "v1.30.1", "vip": "$defaultVIP", "check": "check.sh",
		"init-registry": "init-registry.sh", "init": "old-before.sh && cd ../shell && bash init.sh && cd ../scripts && bash old-after.sh",
		"clean": "clean.sh", "clean-cri": "clean-cri.sh", "clean-registry": "clean-registry.sh",
	}, k.Labels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	paths, documents := copies(k)
	if diff := cmp.Diff([]string{"bin", "bin/", "conf", "conf/", "docker", "docker/", "extra", "extra/", "shell", "shell/"}, paths); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"/etc/old-package-images": "registry.k8s.io/kube-apiserver:v1.30.1\nregistry.k8s.io/pause:3.9\n",
		"/etc/kubeadm.yml":        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.1\n",
		"/etc/old-package-files": "cri /etc/containerd/config.toml\ncri /etc/crictl.yaml\ncri /etc/systemd/system/containerd.service\n" +
			"cri /usr/local/bin/containerd\nkube /etc/sysctl.d/k8s.conf\nkube /etc/systemd/system/kubelet.service\n" +
			"kube /etc/systemd/system/kubelet.service.d/10-kubeadm.conf\nkube /usr/bin/kubeadm\nkube /usr/bin/kubectl\nkube /usr/bin/kubelet\n",
		"/shell/init.sh": "bash containerd.sh\ntrue ctr -n k8s.io images import ../images/images.tar || true\ncp ../bin/* /usr/bin\ncp ../extra/x /\n",
	} {
		if diff := cmp.Diff(want, documents[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff([]string{
		"Metadata is left out: the version in it becomes a label",
		"README.md is left out: nothing in shell/ names it",
		"more/ is left out: nothing in shell/ names it",
		`shell/init.sh:2: "ctr -n k8s.io images import ../images/images.tar" does nothing any more: images come from the registry of the site`,
		"shell/master.sh has no meaning any more: sealinstall runs kubeadm; what it adds to the cluster (kubectl apply -f ../conf/net.yaml) " +
			"comes from images of its own, such as flannel or calico: build with --with",
	}, m.Notes); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if len(m.Problems) > 0 {
		t.Errorf("problems: %q", m.Problems)
	}
}

// What the scripts lack comes from the kubernetes image, byte by byte.
func TestScriptsOfTheKubernetesImageComeAlong(t *testing.T) {
	_, documents := copies(parsed(t, mustMake(t, lay(t, aPackage(t)))))
	for _, name := range ofTheImage {
		want, err := fs.ReadFile(kubernetes.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), documents["/"+name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"/scripts/old-before.sh", "/scripts/old-after.sh"} {
		if !strings.HasPrefix(documents[name], "#!/usr/bin/env bash\n") {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestAPackageInKubeOrPackedIsThePackage(t *testing.T) {
	inKube := map[string]string{}
	for name, text := range aPackage(t) {
		inKube["kube/"+name] = text
	}
	want := mustMake(t, lay(t, aPackage(t)))
	for name, dir := range map[string]string{
		"in kube/": lay(t, inKube),
		"packed":   filepath.Join(lay(t, map[string]string{"kube1.30.1.tar.gz": packed(t, inKube)}), "kube1.30.1.tar.gz"),
	} {
		m := mustMake(t, dir)
		if diff := cmp.Diff(string(want.Text), string(m.Text)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if diff := cmp.Diff([]string{"site.run"}, m.Excluded([]string{"out.run", "kube/site.run"})); diff != "" {
			t.Errorf("%s: left out (-want +got)\n%s", name, diff)
		}
	}
}

func TestAPackedPackageWritesNowhereElse(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "kube", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(outside)},
		{Name: "kube/outside", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = w.Write([]byte("x"))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(lay(t, map[string]string{"kube.tar": b.String()}), "kube.tar")
	if m, err := Make(t.Context(), file, t.TempDir(), nil); err == nil {
		t.Errorf("taken: %+v", m)
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a file was written outside")
	}
}

func TestWhatIsNoPackageIsLeftAlone(t *testing.T) {
	for name, dir := range map[string]string{
		"with a Kubefile": lay(t, map[string]string{"Kubefile": "FROM scratch\n", "shell/init.sh": "", "bin/kubeadm": ""}),
		"no scripts":      lay(t, map[string]string{"bin/kubeadm": "", "images/images.tar": ""}),
		"another file":    filepath.Join(lay(t, map[string]string{"notes.txt": ""}), "notes.txt"),
		"nothing":         filepath.Join(t.TempDir(), "nothing"),
	} {
		if m, err := Make(t.Context(), dir, t.TempDir(), nil); err != nil || m != nil {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestThePackageIsOnlyRead(t *testing.T) {
	dir := lay(t, aPackage(t))
	look := func() (all []string) {
		err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			all = append(all, file, info.Mode().String(), info.ModTime().String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := look()
	mustMake(t, dir)
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestWhatStandsInTheWayIsToldWithARemedy(t *testing.T) {
	docker := packed(t, map[string]string{"docker/dockerd": "x", "docker/containerd": "x", "docker/containerd-shim-runc-v2": "x"})
	for name, tc := range map[string]struct {
		change map[string]string // empty: the file is taken away
		want   string
	}{
		"Docker alone":      {map[string]string{"docker/containerd.tar.gz": "", "docker/docker.tgz": docker}, "Docker and no containerd"},
		"no runtime":        {map[string]string{"docker/containerd.tar.gz": ""}, "no container runtime in docker/, containerd/, cri/ or bin/: put an archive"},
		"no init script":    {map[string]string{"shell/init.sh": ""}, "shell/init.sh is missing"},
		"no kubelet":        {map[string]string{"bin/kubelet": ""}, "bin/kubelet is missing"},
		"no version":        {map[string]string{"Metadata": "", "conf/kubeadm.yaml": "", "images/images.tar.gz": saved(t, "a/pause:1")}, "nothing tells the version"},
		"no version at all": {map[string]string{"Metadata": `{"k8sVersion": "latest"}`}, `"latest" is no version of Kubernetes`},
		"too old": {
			map[string]string{"Metadata": `{"k8sVersion": "v1.19.16"}`, "images/images.tar.gz": saved(t, "a/pause:1")},
			"Kubernetes v1.19.16 is older than v1.22, the oldest that sealinstall installs",
		},
		"images of another":  {map[string]string{"Metadata": `{"k8sVersion": "v1.30.2"}`}, "of Kubernetes v1.30.2, and images/ holds kube-apiserver v1.30.1"},
		"archive of nothing": {map[string]string{"images/other.tar.gz": packed(t, map[string]string{"manifest.json": "[]"})}, "no image in it has a name"},
	} {
		t.Run(name, func(t *testing.T) {
			files := aPackage(t)
			maps.Copy(files, tc.change)
			maps.DeleteFunc(files, func(_, text string) bool { return text == "" })
			m := mustMake(t, lay(t, files))
			if len(m.Problems) != 1 || !strings.Contains(m.Problems[0], tc.want) {
				t.Errorf("%q, want one with %q", m.Problems, tc.want)
			}
		})
	}
}

func TestAPackageIsForOneArchitecture(t *testing.T) {
	files := aPackage(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	files["bin/kubelet"] = string(self)
	m := mustMake(t, lay(t, files))
	here, other := v1.Platform{OS: "linux", Architecture: m.arch}, v1.Platform{OS: "linux", Architecture: "riscv64"}
	if got := m.For([]v1.Platform{here}); len(got) > 0 {
		t.Errorf("problems here: %q", got)
	}
	if got := m.For([]v1.Platform{here, other}); len(got) != 1 || !strings.Contains(got[0], "build with --platform linux/"+m.arch) {
		t.Errorf("problems elsewhere: %q", got)
	}
}

// Docker beside containerd is left out, and so is what would install it.
func TestDockerBesideContainerdIsToldAndLeftOut(t *testing.T) {
	files := aPackage(t)
	files["containerd/c.tar.gz"] = files["docker/containerd.tar.gz"]
	delete(files, "docker/containerd.tar.gz")
	files["docker/docker.tgz"] = packed(t, map[string]string{"docker/dockerd": "x", "docker/containerd": "x"})
	files["shell/init.sh"] = "bash docker.sh\nsystemctl restart x && docker info\n"
	files["shell/docker.sh"] = "tar xzf ../docker/docker.tgz\n"
	m := mustMake(t, lay(t, files))
	k := parsed(t, m)
	paths, documents := copies(k)
	if slices.Contains(paths, "docker") || !slices.Contains(paths, "containerd") {
		t.Errorf("copied: %q", paths)
	}
	if diff := cmp.Diff("true bash docker.sh\nsystemctl restart x && docker info\n", documents["/shell/init.sh"]); diff != "" {
		t.Errorf("init.sh (-want +got):\n%s", diff)
	}
	// The init script does not call the runtime's, so the image does.
	if want := "old-before.sh && cd ../shell && bash containerd.sh && bash init.sh && cd ../scripts && bash old-after.sh"; k.Labels()["init"] != want {
		t.Errorf("init: %s", k.Labels()["init"])
	}
	for _, want := range []string{
		"docker/ is left out: kubelet has no use for Docker",
		"shell/docker.sh has no meaning any more: kubelet has no use for Docker",
		`shell/init.sh:1: "bash docker.sh" does nothing any more: kubelet has no use for Docker`,
		`shell/init.sh:2: "docker info" finds no Docker on the hosts`,
	} {
		if !slices.Contains(m.Notes, want) {
			t.Errorf("not told: %s\nin %s", want, strings.Join(m.Notes, "\n"))
		}
	}
}
