package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/compat"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// newer is the bundle of the simulated site with programs that know no flag that begins with --gone, and no such field.
func newer(t testing.TB) []byte {
	t.Helper()
	const program = "#!/bin/sh\nfor arg; do case $arg in --gone*) echo \"Error: unknown flag: ${arg%%=*}\" >&2; exit 1;; esac; done\n"
	const kubeadm = "#!/bin/sh\nwhile read -r line; do case $line in gone*) echo 'unknown field \"gone\"'; exit 1;; esac; done\n"
	images := simImages()
	for i := range images {
		if images[i].Type == "rootfs" {
			images[i].Files = maps.Clone(images[i].Files)
			images[i].Files["bin/kubelet"], images[i].Files["bin/kubeadm"] = program, kubeadm
		}
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		images = append(images, stepstest.Image{Name: "registry.k8s.io/" + name + ":v1.36.3", Files: map[string]string{"usr/local/bin/" + name: program}})
	}
	return bundleOf(t, images)
}

// judged is what stands in the way of a newer bundle, for a site that has a cluster.
func (w *world) judged(t *testing.T) []preflight.Problem {
	t.Helper()
	w.bundle = newer(t)
	r := w.looker(t, t.Context(), io.Discard)
	defer func() { _ = r.Close() }() // the lock is for who comes next
	var found []preflight.Problem
	_, err := installer.RunSteps(t.Context(), []installer.Step[*Run]{{Name: "check", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		if err := r.Load(ctx); err != nil {
			return installer.Result{}, err
		}
		sizes, err := r.Payload.Measure(ctx)
		if err != nil {
			return installer.Result{}, err
		}
		r.Open(ctx) // hosts that do not answer are found by what follows, too
		found, err = compat.Compat{Site: r.Site, Sizes: sizes}.Look(ctx, r.Payload.Rootfs().KubeVersion(), r.Payload.Rootfs().KubeVersion())
		return installer.Result{}, err
	}}}, r, r.Report)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func told(problems []preflight.Problem) string {
	var out strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&out, "%s %s %t: %s | %s\n", p.Host, p.Check, p.Warning, p.Message, p.Remedy)
	}
	return out.String()
}

func mustFind(t *testing.T, problems []preflight.Problem, want ...string) {
	t.Helper()
	text := told(problems)
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not found in\n%s", line, text)
		}
	}
}

func TestNothingStandsInTheWayOfAHealthyClusterAndLookingChangesNothing(t *testing.T) {
	w := installed(t, 3, 2)
	w.judged(t) // its lock leaves an empty file
	before := w.trees(t)
	if found := w.judged(t); len(found) > 0 {
		t.Errorf("found:\n%s", told(found))
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("looking changed host %d: %s", i, strings.Join(diff, ", "))
		}
	}
}

func TestArgumentsAndSettingsThatTheNewVersionLacksAreFoundOnEveryHost(t *testing.T) {
	w := installed(t, 2, 1)
	edit := func(host int, name string, change func(string) string) {
		t.Helper()
		name = filepath.Join(w.Machines()[host].Root(), name)
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(change(string(text))), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	edit(1, "etc/kubernetes/manifests/kube-scheduler.yaml", func(text string) string {
		return regexp.MustCompile(`(?m)^( *)- kube-scheduler\n`).ReplaceAllString(text, "$0$1- --gone-flag=1\n")
	})
	edit(0, "etc/kubernetes/manifests/kube-scheduler.yaml", func(string) string { return "a: b: c\n" })
	edit(2, "etc/default/kubelet", func(string) string { return "KUBELET_EXTRA_ARGS=--gone-too\n" })
	edit(2, "var/lib/kubelet/config.yaml", func(text string) string { return text + "gone: true\n" })
	stepstest.EditConfigMap(w.Site, "kube-proxy", "kind: KubeProxyConfiguration", "kind: KubeProxyConfiguration\ngone: 1")
	mustFind(t, w.judged(t),
		"10.77.0.1 flags false: /etc/kubernetes/manifests/kube-scheduler.yaml cannot be read: ",
		"10.77.0.2 flags false: /etc/kubernetes/manifests/kube-scheduler.yaml sets --gone-flag, which kube-scheduler of v1.36.3 does not have",
		"10.77.0.3 flags false: /etc/default/kubelet sets --gone-too, which kubelet of v1.36.3 does not have",
		"10.77.0.3 flags false: /var/lib/kubelet/config.yaml sets the field gone, which v1.36.3 does not have",
		" flags false: the ConfigMap kube-system/kube-proxy sets the field gone, which v1.36.3 does not have")
}

func TestADeadMasterIsNamedWithTheCommandThatTakesItOut(t *testing.T) {
	w := installed(t, 3, 2)
	w.Machines()[1].PowerOff()
	w.Machines()[4].PowerOff()
	w.noticed(t)
	mustFind(t, w.judged(t), "10.77.0.2 connect false: the master does not answer", "sealinstall delete --dead --masters 10.77.0.2", "sealinstall delete --dead --nodes 10.77.0.5")
}

func TestAFullDiskIsFoundBeforeTheNewVersionIsPutBesideTheOldOne(t *testing.T) {
	w := installed(t, 1, 1)
	for _, m := range w.Machines() {
		m.Is = func(f *agent.Facts) {
			for path, d := range f.Disks {
				d.Free = 64 << 20
				f.Disks[path] = d
			}
		}
	}
	mustFind(t, w.judged(t), "10.77.0.1 disk false: ", "10.77.0.2 disk false: ")
}

func TestPodsThatADrainMeetsAreFoundBefore(t *testing.T) {
	realistic(t, 1, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 2, EmptyDir: true})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "alone", Kind: "Pod"})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "kept", Kind: "Deployment", Replicas: 1, Kept: true})
		time.Sleep(time.Minute)
		mustFind(t, w.judged(t), "PodDisruptionBudget shop/web allows no disruption: 2 of its 2 pods are healthy", "nothing makes pod shop/alone anew elsewhere",
			"loses what is in its emptyDir scratch", "has the finalizers site/kept")
	})
}
