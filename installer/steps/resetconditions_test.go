package steps

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// userKubeconfig is root's kubeconfig on a master.
const userKubeconfig = "/root/.kube/config"

// putOn makes files of an operator on a machine: each holds its own name.
func putOn(t *testing.T, m *stepstest.Machine, names ...string) {
	t.Helper()
	for _, name := range names {
		file := filepath.Join(m.Root(), name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
}

// changed lists what differs on hosts from what was there before.
func changed(t *testing.T, w *world, before []map[string]string) []string {
	t.Helper()
	var out []string
	for i, tree := range w.trees(t) {
		for _, d := range differences(before[i], tree) {
			out = append(out, fmt.Sprintf("host %d: %s", i+1, d))
		}
		for name, was := range before[i] {
			if is := tree[name]; is != "" && is != was {
				out = append(out, fmt.Sprintf("host %d: %s is %s, not %s", i+1, name, is, was))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestAuthoritiesAndKeysOfAFreshHostAreNeverWrittenOver(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	master, node := w.Machines()[0], w.Machines()[1]
	putOn(t, master, "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/audit-policy.yml", "/etc/kubernetes/encryption.yaml")
	putOn(t, node, "/etc/kubernetes/pki/own/webhook.crt", "/etc/kubernetes/kubelet.conf", "/etc/kubernetes/manifests/own.yaml")
	before := w.trees(t)
	_, err := w.run(t.Context(), Install())
	var refused *preflight.Error
	if !errors.As(err, &refused) {
		t.Fatalf("the run ended with %v", err)
	}
	got := map[string]string{}
	for _, p := range refused.Problems {
		got[p.Host+" "+p.Check] += p.Message + "\n"
		if p.Check == "foreign" && !strings.Contains(p.Remedy, "move them away") {
			t.Errorf("the remedy of %s is %q", p.Message, p.Remedy)
		}
	}
	want := map[string]string{
		master.IP + " foreign": "certificates or keys of somebody else are there: /etc/kubernetes/pki/ca.crt, /etc/kubernetes/pki/etcd/ca.key\nthe cluster would write over /etc/kubernetes/audit-policy.yml\n",
		node.IP + " foreign":   "certificates or keys of somebody else are there: /etc/kubernetes/pki/own/webhook.crt\n",
		// Warnings name these files already, and none twice.
		node.IP + " kubernetes": "traces of another cluster: /etc/kubernetes/kubelet.conf\ntraces of another cluster: /etc/kubernetes/manifests/own.yaml\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := changed(t, w, before); len(diff) > 0 {
		t.Errorf("the refused run changed:\n%s", strings.Join(diff, "\n"))
	}
	if slices.Contains(preflight.Checks(), "foreign") {
		t.Error("an operator can have somebody's keys written over with --ignore-check")
	}
}

func TestResetKeepsAndNamesWhatOthersPutThere(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	first, node := w.Machines()[0], w.Machines()[2]
	putOn(t, first, "/etc/kubernetes/encryption.yaml", "/var/lib/kubelet/seccomp/profiles/audit.json", "/var/lib/kubelet/config.json")
	putOn(t, node, "/etc/kubernetes/policies/x")
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	after := []string{
		"/etc/kubernetes/pki/webhook.crt", "/etc/kubernetes/pki/etcd/own.pem", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/tmp/own", "/etc/kubernetes/admin.conf.mine",
		"/var/log/kubernetes/own.log", "/var/log/pods/readme",
	}
	putOn(t, first, after...)
	putOn(t, node, "/etc/kubernetes/manifests/own.yaml")
	var told bytes.Buffer
	w.told = &told
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	kept := map[*stepstest.Machine][]string{
		first: append(slices.Clone(after), "/etc/kubernetes/encryption.yaml", "/var/lib/kubelet/config.json", "/var/lib/kubelet/seccomp/profiles/audit.json"),
		node:  {"/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/policies/x"},
	}
	for _, m := range w.Machines() {
		tree, err := stepstest.Tree(m.Root())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for name := range tree {
			if !strings.HasSuffix(name, "/") && (strings.HasPrefix(name, "/etc/kubernetes/") || strings.HasPrefix(name, "/var/lib/kubelet/") || strings.HasPrefix(name, "/var/log/")) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(kept[m])
		if diff := cmp.Diff(kept[m], got); diff != "" {
			t.Errorf("%s: what is left (-want +got):\n%s", m.IP, diff)
		}
		for _, name := range kept[m] {
			if !strings.HasPrefix(name, "/var/lib/kubelet") && !strings.Contains(told.String(), name) {
				t.Errorf("%s: nobody was told that %s stays:\n%s", m.IP, name, told.String())
			}
		}
	}
	if bad := w.Gone(); len(bad) > 0 {
		t.Error(bad)
	}
}

func TestUndoingAnInterruptedKubeadmKeepsWhatOthersPutThere(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.Arm(&stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{Host: w.Machines()[1].IP, Kind: "step", What: "join: register node", N: 1}})
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("nothing happened")
	}
	own := []string{"/etc/kubernetes/pki/webhook.crt", "/etc/kubernetes/encryption.yaml"}
	putOn(t, w.Machines()[1], own...)
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if w.Machines()[1].Done()["kubeadm join"] != 1 {
		t.Errorf("done %v", w.Machines()[1].Done())
	}
	for _, name := range own {
		if data, err := os.ReadFile(filepath.Join(w.Machines()[1].Root(), name)); err != nil || string(data) != name {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

func TestStaticPodOfSomebodyElseIsToldBeforeKubeadmRefusesIt(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.Arm(&stepstest.Fault{Kind: stepstest.AgentDies, At: stepstest.Event{Host: w.Machines()[1].IP, Kind: "step", What: "join: register node", N: 1}})
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("nothing happened")
	}
	putOn(t, w.Machines()[1], "/etc/kubernetes/manifests/own.yaml")
	w.Arm(nil)
	_, err := w.run(t.Context(), Install())
	var refused *preflight.Error
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "/etc/kubernetes/manifests/own.yaml") {
		t.Errorf("the run ended with %v", err)
	}
}

func kubeconfigOf(t *testing.T, m *stepstest.Machine) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Root(), userKubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	return out
}

func TestKubeconfigOfAnotherClusterStaysAndItsChangesToo(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 0)
	var told bytes.Buffer
	w.told = &told
	second := w.Machines()[1] // its administrator has a kubeconfig with our names
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	merged := kubeconfigOf(t, second)
	if got := merged["current-context"]; got != "kubernetes-admin@default" || len(merged["users"].([]any)) != 2 {
		t.Errorf("merged: %v", merged)
	}
	if !strings.Contains(told.String(), `"kubernetes-admin@default"`) {
		t.Errorf("nobody was told under which name the cluster stands:\n%s", told.String())
	}
	file := filepath.Join(second.Root(), userKubeconfig)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte("namespace: shop"), []byte("namespace: till")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(ownKubeconfig, "namespace: shop", "namespace: till")), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, kubeconfigOf(t, second)); diff != "" {
		t.Errorf("after the reset (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside it: %v, %v", entries, err)
	}
}

func TestKubeconfigThatIsNoneIsLeftAloneAndHoldsNobodyUp(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	putOn(t, w.Machines()[0], userKubeconfig)
	var told bytes.Buffer
	w.told = &told
	for _, pipeline := range [][]Step{Install(), Reset()} {
		if _, err := w.run(t.Context(), pipeline); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(w.Machines()[0].Root(), userKubeconfig)); err != nil || string(data) != userKubeconfig {
			t.Errorf("%q, %v", data, err)
		}
	}
	if !strings.Contains(told.String(), userKubeconfig+" is left as it is") {
		t.Errorf("nobody was told:\n%s", told.String())
	}
}

func TestDirectoriesThatAreLinksStayLinksAndAreEmptied(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	m := w.Machines()[0]
	links := map[string]string{"/var/lib/kubelet": "/data/kubelet", "/var/lib/sealos": "/data/sealos", "/var/log/kubernetes": "/data/logs", "/etc/kubernetes": "/data/etc"}
	for link, target := range links {
		up := strings.Repeat("../", strings.Count(link, "/")-1)
		file := filepath.Join(m.Root(), link)
		if err := errors.Join(os.MkdirAll(filepath.Join(m.Root(), target), 0o755), os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink(up+target[1:], file)); err != nil {
			t.Fatal(err)
		}
	}
	before := w.trees(t)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	for _, target := range links {
		if entries, err := os.ReadDir(filepath.Join(m.Root(), target)); err != nil || len(entries) == 0 {
			t.Errorf("nothing was written to %s: %v", target, err)
		}
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if diff := changed(t, w, before); len(diff) > 0 {
		t.Errorf("after the reset:\n%s", strings.Join(diff, "\n"))
	}
}

func TestTemporaryFilesOfAKilledRunAreGoneAfterReset(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	before := w.trees(t)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Machines() {
		for _, name := range []string{
			"/etc/.sealinstall-hosts.17", "/etc/kubernetes/.sealinstall-admin.conf.17", "/etc/kubernetes/pki/etcd/.sealinstall-ca.key.17", "/etc/kubernetes/manifests/.sealinstall-" + filepath.Base(hostnet.CareManifest) + ".5",
			"/var/lib/sealos/bin/.sealinstall-Xy12Zz78", "/var/lib/sealos/data/default/journal/.sealinstall-init.3",
		} {
			putOn(t, m, name)
		}
	}
	putOn(t, w.Machines()[0], "/root/.kube/.sealinstall-config.17")
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if diff := changed(t, w, before); len(diff) > 0 {
		t.Errorf("after the reset:\n%s", strings.Join(diff, "\n"))
	}
}
