package steps

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// applications is a bundle without a rootfs, behind another stub than that of the cluster.
func applications(t *testing.T, images ...stepstest.Image) []byte {
	t.Helper()
	if len(images) == 0 {
		images = []stepstest.Image{
			{
				Name: "localhost/shop:v2", Type: "application", Config: v1.ImageConfig{Cmd: []string{"echo open on $(SEALOS_SYS_KUBE_VERSION)"}},
				Files: map[string]string{"manifests/shop.yaml.tmpl": "vip: {{ .SEALOS_SYS_VIP }}\nregistry: {{ .registryDomain }}:{{ .registryPort }}\n"},
			},
			{Name: "docker.io/library/shop:v2", Files: map[string]string{"shop": "sells\n"}, Gzip: true},
			{Name: "registry.k8s.io/pause:3.10.2", Files: map[string]string{"pause": strings.Repeat("pause\n", 500)}, Gzip: true},
		}
	}
	var file strings.Builder
	if err := stepstest.Write(&file, []byte("another stub\n"), images); err != nil {
		t.Fatal(err)
	}
	return []byte(file.String())
}

// again makes the cluster of the next run from the record, as a command without flags does.
func (w *world) again(t *testing.T) {
	t.Helper()
	w.wish = func() *installer.Cluster {
		_, c := w.record(t)
		c.Kept, c.Images = c.Images, nil
		return c
	}
}

// besides leaves out what an application adds to a host, and what every run writes.
func besides(tree map[string]string, names ...string) map[string]string {
	out := maps.Clone(tree)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return slices.ContainsFunc(names, func(part string) bool { return strings.Contains(name, part) })
	})
	return out
}

func TestABundleOfApplicationsAddsThemAndLeavesTheClusterAsItIs(t *testing.T) {
	w := finishedWorld(t, 3, 2)
	before := w.trees(t)
	_, made := w.record(t)
	w.bundle = applications(t)
	w.again(t)
	var told strings.Builder
	w.told = &told
	w.Arm(nil)
	changes, err := w.run(t.Context(), Install())
	if err != nil {
		t.Fatal(err)
	}
	// One layer on the first master, its rendered file, two blobs and a manifest on each of three registries, and one command.
	if want := 1 + 1 + 3*3 + 1; changes != want {
		t.Errorf("%d changes, want %d:\n%s", changes, want, told.String())
	}
	for _, step := range []string{"bootstrap", "init-master0", "join-masters", "join-nodes", "sync-ipvs"} {
		if strings.Contains(told.String(), step) {
			t.Errorf("%s is told of:\n%s", step, told.String())
		}
	}
	if bad := append(w.Unsound(3), w.repeated()...); len(bad) > 0 {
		t.Errorf("after it:\n%s", strings.Join(bad, "\n"))
	}
	// Nothing but the application, its blobs, marks and the record is other than before.
	added := []string{"/applications/" + "localhost-shop", "/var/lib/registry/", "/journal/", "/Clusterfile"}
	for i, tree := range w.trees(t) {
		if diff := cmp.Diff(besides(before[i], added...), besides(tree, added...)); diff != "" {
			t.Errorf("host %d (-before +after):\n%s", i, diff)
		}
		for name, was := range before[i] {
			if strings.Contains(name, "/var/lib/registry/") && tree[name] != was {
				t.Errorf("host %d: %s is gone or changed", i, name)
			}
		}
	}
	text := stringOf(t, w.Machines()[0].Root(), "/var/lib/sealos/data/default/applications/localhost-shop-v2-*/workdir/manifests/shop.yaml")
	if want := "vip: 10.103.97.2\nregistry: sealos.hub:5000\n"; text != want {
		t.Errorf("rendered %q, want %q", text, want)
	}
	// The record has what was there, as it was, and the application.
	record, c := w.record(t)
	if diff := cmp.Diff(append(slices.Clone(made.Images), "localhost/shop:v2"), c.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(made.Status.Mounts, c.Status.Mounts[:len(made.Status.Mounts)]); diff != "" {
		t.Errorf("what was there (-want +got):\n%s", diff)
	}
	for n := range 3 {
		if text, _ := w.recordOn(t, n); text != record {
			t.Errorf("master %d has another record:\n%s", n, text)
		}
	}
	// Again: nothing.
	changes, err = w.run(t.Context(), Install())
	if err != nil || changes != 0 {
		t.Errorf("second run: %d changes, %v", changes, err)
	}
	if text, _ := w.record(t); text != record {
		t.Errorf("the record has changed:\n%s", cmp.Diff(record, text))
	}
	// The bundle that the cluster was made with finds its work done, and keeps the application.
	w.bundle = simBundle(t)
	changes, err = w.run(t.Context(), Install())
	if err != nil || changes != 0 {
		t.Errorf("a run of the first bundle: %d changes, %v", changes, err)
	}
	if _, c := w.record(t); !slices.Contains(c.Images, "localhost/shop:v2") {
		t.Errorf("the application is forgotten: %v", c.Images)
	}
}

// stringOf is the content of the one file below root that a pattern names.
func stringOf(t *testing.T, root, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestARefusedBundleOfApplicationsHasReplacedNothing has the ways in which applications cannot be added.
func TestARefusedBundleOfApplicationsHasReplacedNothing(t *testing.T) {
	made := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
	made.take = 2
	made.Arm(nil)
	if _, err := made.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, w *world)
		check   string
		want    []string
	}{
		"no cluster": {func(t *testing.T, w *world) {
			*w = *newWorld(t, memoryDir(t), applications(t), 1, 1)
		}, "rootfs", []string{`there is no record of a cluster "default"`, "make the cluster with a bundle that holds a rootfs first"}},
		"a new host": {func(_ *testing.T, w *world) {
			w.wish, w.take = nil, 0
		}, "rootfs", []string{"10.77.0.3", "a new host needs the bundle with the rootfs", "run the bundle with localhost/kubernetes:v1.36.3, with which the cluster was made; then run this one"}},
		"a setup begun anew": {func(t *testing.T, w *world) {
			if err := os.Remove(filepath.Join(w.Machines()[1].Root(), "/var/lib/sealos/data/default/journal/init")); err != nil {
				t.Fatal(err)
			}
		}, "rootfs", []string{"its setup was begun anew"}},
		"an installation without an end": {func(t *testing.T, w *world) {
			if err := os.Remove(filepath.Join(w.Machines()[0].Root(), ledger.RecordOnMaster("default"))); err != nil {
				t.Fatal(err)
			}
		}, "rootfs", []string{"no master has a record of cluster default", "run the bundle with localhost/kubernetes:v1.36.3 until it succeeds; then run this one"}},
		"a patch": {func(t *testing.T, w *world) {
			w.bundle = applications(t, stepstest.Image{Name: "localhost/tune:v1", Type: "patch", Files: map[string]string{"etc/a": "b"}})
		}, "rootfs", []string{"localhost/tune:v1 changes what the rootfs brings to every host"}},
		"another virtual address": {func(_ *testing.T, w *world) {
			wish := w.wish
			w.wish = func() *installer.Cluster {
				c := wish()
				c.Env["defaultVIP"] = "10.99.0.1"
				return c
			}
		}, "rootfs", []string{"the virtual address is 10.103.97.2 and cannot become 10.99.0.1", "change it with the bundle that brings localhost/kubernetes:v1.36.3"}},
		"other documents for kubeadm": {func(_ *testing.T, w *world) {
			wish := w.wish
			w.wish = func() *installer.Cluster {
				c := wish()
				c.Kubeadm = [][]byte{[]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50\n")}
				return c
			}
		}, "rootfs", []string{"the documents for kubeadm are others than the cluster has"}},
		"a host with another rootfs": {func(t *testing.T, w *world) {
			mark := filepath.Join(w.Machines()[1].Root(), "/var/lib/sealos/data/default/journal/images")
			if err := os.WriteFile(mark, []byte("sha256:aaaa v1.35.4 localhost/kubernetes:v1.35.4"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "version", []string{"it has Kubernetes v1.35.4", "the record of the cluster says v1.36.3 localhost/kubernetes:v1.36.3"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := made.clone(t, memoryDir(t))
			w.bundle = applications(t)
			w.again(t)
			c.prepare(t, w)
			before := w.trees(t)
			record, _ := os.ReadFile(filepath.Join(w.dir, ledger.ClusterfileName))
			w.Arm(nil)
			changes, err := w.run(t.Context(), Install())
			var refused *preflight.Error
			if !errors.As(err, &refused) || changes != 0 {
				t.Fatalf("%d changes, %v", changes, err)
			}
			if !slices.ContainsFunc(refused.Problems, func(p preflight.Problem) bool { return p.Check == c.check }) {
				t.Errorf("problems %+v, want one of %s", refused.Problems, c.check)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
			for i, tree := range w.trees(t) {
				if diff := cmp.Diff(before[i], tree); diff != "" {
					t.Errorf("host %d (-before +after):\n%s", i, diff)
				}
			}
			if now, _ := os.ReadFile(filepath.Join(w.dir, ledger.ClusterfileName)); string(now) != string(record) {
				t.Errorf("the record has changed:\n%s", cmp.Diff(string(record), string(now)))
			}
		})
	}
}

func TestAnotherMachineAddsApplicationsByTheRecordOfTheMasters(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.bundle, w.dir = applications(t), t.TempDir()
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if _, c := w.record(t); !slices.Contains(c.Images, "localhost/shop:v2") || c.Status.KubeVersion() != "v1.36.3" {
		t.Errorf("recorded %v, Kubernetes %s", c.Images, c.Status.KubeVersion())
	}
}

func TestACommandThatIsGivenForAnApplicationStaysItsOwn(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.bundle = applications(t)
	w.again(t)
	plain := w.wish
	w.wish = func() *installer.Cluster {
		c := plain()
		c.Command = []string{"echo as the site wants"}
		return c
	}
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if _, c := w.record(t); len(c.Command) > 0 || !slices.Equal(c.CommandFor("localhost/shop:v2"), []string{"echo as the site wants"}) {
		t.Errorf("recorded: for the cluster %q, for the application %q", c.Command, c.CommandFor("localhost/shop:v2"))
	}
	w.wish = plain
	for name, file := range map[string][]byte{"the same bundle": w.bundle, "the first bundle": simBundle(t)} {
		w.bundle = file
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("then %s: %d changes, %v", name, changes, err)
		}
	}
}

func TestAnApplicationWhoseCommandFailedIsAddedByTheSameOrAnotherBundle(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.again(t)
	w.bundle = applications(t, stepstest.Image{Name: "localhost/shop:v1", Type: "application", Config: v1.ImageConfig{Cmd: []string{"bash missing.sh"}}, Files: map[string]string{"manifests/a": "b"}})
	w.Arm(nil)
	var guest *installer.GuestError
	if _, err := w.run(t.Context(), Install()); !errors.As(err, &guest) {
		t.Fatalf("error %v", err)
	}
	w.bundle = applications(t)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if _, c := w.record(t); !c.Finished() || !slices.Contains(c.Images, "localhost/shop:v2") {
		t.Errorf("recorded %v, %v", c.Status.Phase, c.Images)
	}
}

func TestSecretsOfTheRootfsAreNotInATemplateOfAnAddedApplication(t *testing.T) {
	w := newWorld(t, memoryDir(t), bundleWith(t, func(images []stepstest.Image) []stepstest.Image {
		images[0].Config.Env = append(images[0].Config.Env, "DB_PASSWORD=of-the-rootfs")
		return images
	}), 1, 1)
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.again(t)
	w.bundle = applications(t, stepstest.Image{Name: "localhost/shop:v1", Type: "application", Files: map[string]string{"manifests/a.yaml.tmpl": "password: {{ .DB_PASSWORD }}\n"}})
	before := w.trees(t)
	if _, err := w.run(t.Context(), Install()); err == nil || !strings.Contains(err.Error(), "DB_PASSWORD") {
		t.Fatalf("error %v", err)
	}
	for i, tree := range w.trees(t) {
		if diff := cmp.Diff(before[i], tree); diff != "" {
			t.Errorf("host %d (-before +after):\n%s", i, diff)
		}
	}
}

// TestTheFilesOfTheRootfsAreReadWhereTheyLie adds to a cluster whose rootfs speaks plain HTTP: it finds images by path alone.
func TestTheFilesOfTheRootfsAreReadWhereTheyLie(t *testing.T) {
	w := newWorld(t, memoryDir(t), bundleWith(t, func(images []stepstest.Image) []stepstest.Image {
		images[0].Files["etc/registry_config.yml"] = "version: 0.1\nhttp: {addr: \":5000\"}\n"
		return images
	}), 1, 1)
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	w.again(t)
	w.bundle = applications(t)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	const repositories = "/var/lib/registry/docker/registry/v2/repositories/"
	if tree := w.trees(t)[0]; !slices.ContainsFunc(slices.Collect(maps.Keys(tree)), func(name string) bool { return strings.HasPrefix(name, repositories+"library/shop/") }) {
		t.Error("the image is not found by its path alone")
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("second run: %d changes, %v", changes, err)
	}
}

func TestAVariableThatIsGivenWithAnApplicationIsTheClustersAndTold(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.bundle = applications(t)
	w.again(t)
	plain := w.wish
	w.wish = func() *installer.Cluster {
		c := plain()
		c.Env["COLOUR"] = "red"
		return c
	}
	var told strings.Builder
	w.told = &told
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if want := "COLOUR: recorded for the cluster; its hosts get it with the next run of the bundle that brings localhost/kubernetes:v1.36.3"; !strings.Contains(told.String(), want) {
		t.Errorf("not told: %q in\n%s", want, told.String())
	}
	if _, c := w.record(t); c.Env["COLOUR"] != "red" {
		t.Errorf("recorded: %v", c.Env)
	}
}
