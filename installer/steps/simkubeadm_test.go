package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// The versions between which tests upgrade.
const (
	oldKube, newKube             = "v1.35.0", "v1.36.3"
	oldContainerd, newContainerd = "2.1.4", "2.2.0"
)

// oldSite is a site on which the older version was installed.
func oldSite(t *testing.T, masters, workers int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), bundleOf(t, stepstest.Kubernetes(oldKube, oldContainerd)), masters, workers)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	return w
}

// kubeadmSite is a site of the older version on whose machines the programs of the newer one lie in /new, and whose registries
// have its images.
func kubeadmSite(t *testing.T, masters, workers int) *world {
	t.Helper()
	w := oldSite(t, masters, workers)
	for i, m := range w.Machines() {
		files := map[string]string{"/new/kubeadm": "kubeadm " + newKube + "\n"}
		for _, image := range stepstest.DownloadedBy(newKube) {
			at := strings.LastIndexByte(image, ':')
			if i < masters {
				files["/var/lib/registry/docker/registry/v2/repositories/"+image[:at]+"/_manifests/tags/"+image[at+1:]+"/current/link"] = "sha256:1"
			}
		}
		for name, text := range files {
			if err := m.Write(name, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// kubeadm runs kubeadm of the newer version on a machine.
func (w *world) kubeadm(t *testing.T, place int, args ...string) error {
	t.Helper()
	_, err := w.Machines()[place].Command(t.Context(), "", append([]string{"/new/kubeadm", "upgrade"}, args...)...)
	return err
}

func TestASiteOfAVersionRunsExactlyThat(t *testing.T) {
	w := oldSite(t, 2, 1)
	if bad := append(stepstest.NotAt(w.Site, oldKube, oldContainerd), w.Unsound(2)...); len(bad) > 0 {
		t.Error(strings.Join(bad, "\n"))
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("again: %d changes, %v", changes, err)
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if m := w.Machines()[0]; m.Has("/usr/bin/kubelet") || m.Has("/usr/bin/containerd") {
		t.Error("programs stay after a reset")
	}
}

// TestSimulatedKubeadmUpgradesAsTheRealOneDoes says what of a cluster an upgrade by kubeadm changes, and what not.
func TestSimulatedKubeadmUpgradesAsTheRealOneDoes(t *testing.T) {
	w := kubeadmSite(t, 2, 1)
	first, second := w.Machines()[0], w.Machines()[1]
	if err := first.Write(kubeletFile, first.Text(kubeletFile)+"maxPods: 7\n"); err != nil {
		t.Fatal(err)
	}
	ca := first.Text("/etc/kubernetes/pki/apiserver.crt")
	if err := w.kubeadm(t, 0, "apply", newKube, "--yes"); err != nil {
		t.Fatal(err)
	}
	of := func(m *stepstest.Machine, pod string) string {
		return m.Text("/etc/kubernetes/manifests/" + pod + ".yaml")
	}
	if !strings.Contains(of(first, "kube-apiserver"), newKube) || !strings.Contains(of(first, "etcd"), "etcd:3.6.8-0") || strings.Contains(of(second, "kube-apiserver"), newKube) {
		t.Error("the static pods of the first master are not new, or those of another one are")
	}
	if strings.Contains(first.Text(kubeletFile), "maxPods: 7") || !strings.Contains(first.Text(kubeletFile), "memoryReservationPolicy") {
		t.Errorf("kubelet's configuration is not the cluster's:\n%s", first.Text(kubeletFile))
	}
	if first.Text("/etc/kubernetes/pki/apiserver.crt") == ca {
		t.Error("certificates are not made anew")
	}
	copies := 0
	for name := range w.trees(t)[0] {
		if strings.HasPrefix(name, "/etc/kubernetes/tmp/kubeadm-backup-etcd-") && strings.HasSuffix(name, "/etcd/member/id") {
			copies++
		}
	}
	if copies != 1 {
		t.Errorf("%d copies of etcd's data are kept", copies)
	}
	bad := strings.Join(stepstest.NotAt(w.Site, newKube, oldContainerd), "\n")
	for _, want := range []string{"kube-proxy's DaemonSet", "CoreDNS's Deployment", first.IP + ": the kubelet that runs"} {
		if !strings.Contains(bad, want) {
			t.Errorf("%s is new already: %s", want, bad)
		}
	}
	for _, place := range []int{1, 2} {
		if err := w.kubeadm(t, place, "node"); err != nil {
			t.Fatal(err)
		}
	}
	bad = strings.Join(stepstest.NotAt(w.Site, newKube, oldContainerd), "\n")
	for _, wrong := range []string{"DaemonSet", "Deployment", "kubeadm-config", "kube-apiserver is", "etcd is"} {
		if strings.Contains(bad, wrong) {
			t.Errorf("%s is old still: %s", wrong, bad)
		}
	}
	if violations := w.Violations(); len(violations) > 0 {
		t.Error(violations)
	}
}

// TestSimulatedKubeadmIsNotRunAgainAfterAKillBetweenItsRenames has the reason for which an upgrade mends manifests before it
// runs kubeadm again.
func TestSimulatedKubeadmIsNotRunAgainAfterAKillBetweenItsRenames(t *testing.T) {
	for name, c := range map[string]struct{ pod, apply, node string }{
		"kube-scheduler": {"kube-scheduler", "StaticPodManifest", "failed to obtain static Pod hash"},
		"kube-apiserver": {"kube-apiserver", "refused", "refused"},
		"etcd":           {"etcd", "refused", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := kubeadmSite(t, 3, 0)
			m := w.Machines()[0]
			w.Arm(&stepstest.Fault{Kind: stepstest.ProgramDies, At: stepstest.Event{Host: m.IP, Kind: "step", What: "upgrade " + c.pod + ": the new manifest comes", N: 1}})
			if err := w.kubeadm(t, 0, "apply", newKube, "--yes"); err == nil || err.Error() != "killed" {
				t.Fatalf("it was not killed: %v", err)
			}
			w.Arm(nil)
			if m.Has("/etc/kubernetes/manifests/" + c.pod + ".yaml") {
				t.Fatal("the manifest is there")
			}
			// kubeadm waits for minutes for an API server that is away.
			w.Pace.Manifests = w.timeout / 8
			if err := w.kubeadm(t, 0, "apply", newKube, "--yes"); err == nil || !strings.Contains(err.Error(), c.apply) {
				t.Errorf("apply again: %v", err)
			}
			if err := w.kubeadm(t, 0, "node"); err == nil || !strings.Contains(err.Error(), c.node) {
				t.Errorf("node: %v", err)
			}
		})
	}
}

func TestSimulatedKubeadmRefusesWhatTheRealOneRefuses(t *testing.T) {
	begin := kubeadmSite(t, 3, 1)
	for name, c := range map[string]struct {
		prepare func(w *world)
		args    []string
		by      string // the program; empty: the new kubeadm
		want    string
	}{
		"a minor in between":         {args: []string{"apply", "v1.38.0", "--yes"}, want: "too high"},
		"a kubeadm that is older":    {by: "kubeadm", args: []string{"apply", newKube, "--yes"}, want: "higher than the kubeadm minor"},
		"a kubeadm that is newer":    {args: []string{"apply", "v1.35.9", "--yes"}, want: "can only be used to upgrade to Kubernetes version 1.36"},
		"nobody who says yes":        {args: []string{"apply", newKube}, want: "nobody answers"},
		"a master that is not Ready": {prepare: func(w *world) { w.Machines()[2].PowerOff(); w.noticed(t) }, args: []string{"apply", newKube, "--yes"}, want: "ControlPlaneNodesReady"},
		"a manifest that is not there": {prepare: func(w *world) {
			os.Remove(filepath.Join(w.Machines()[0].Root(), "/etc/kubernetes/manifests/kube-scheduler.yaml"))
		}, args: []string{"apply", newKube, "--yes"}, want: "StaticPodManifest"},
		"an API server that is away":    {prepare: func(w *world) { w.Machines()[0].EndContainer("kube-apiserver", "it ends") }, args: []string{"apply", newKube, "--yes"}, want: "refused"},
		"images that nobody has":        {prepare: func(w *world) { w.noRegistries() }, args: []string{"node"}, want: "ImagePull"},
		"a pause image that nobody has": {prepare: func(w *world) { w.noRegistries() }, args: []string{"apply", newKube, "--yes"}, want: "CreateJob"},
		"an etcd that is full":          {prepare: func(w *world) { w.Fill(1<<31, "NOSPACE") }, args: []string{"apply", newKube, "--yes"}, want: "space exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			w := begin.clone(t, memoryDir(t))
			w.Pace.Manifests = w.timeout / 8
			if c.prepare != nil {
				c.prepare(w)
			}
			before := w.trees(t)[0]
			program := c.by
			if program == "" {
				program = "/new/kubeadm"
			}
			_, err := w.Machines()[0].Command(t.Context(), "", append([]string{program, "upgrade"}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if diff := differences(before, w.trees(t)[0]); len(diff) > 0 {
				t.Errorf("it has changed files: %v", diff)
			}
		})
	}
}

// noRegistries stops all of them.
func (w *world) noRegistries() {
	for _, m := range w.Machines() {
		m.LoseRegistry()
	}
}

func TestSimulatedKubeadmPutsManifestsBackAndNothingElse(t *testing.T) {
	for name, spoil := range map[string]func(m *stepstest.Machine){
		"an API server that ends":         func(m *stepstest.Machine) { stepstest.Break(m, "kube-apiserver", newKube, "unknown flag") },
		"an etcd that ends":               func(m *stepstest.Machine) { stepstest.Break(m, "etcd", "3.6.8-0", "panic") },
		"a kubelet that sees no manifest": stepstest.Stick,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := kubeadmSite(t, 3, 0)
				w.Pace.Manifests = w.timeout / 8
				m := w.Machines()[0]
				before := w.trees(t)[0]
				spoil(m)
				err := w.kubeadm(t, 0, "apply", newKube, "--yes", "--certificate-renewal=false")
				if err == nil || !strings.Contains(err.Error(), "kubeadm has tried to recover everything into the earlier state") {
					t.Fatal(err)
				}
				stepstest.Mend(m)
				etcd := strings.Contains(m.Text("/etc/kubernetes/manifests/etcd.yaml"), "3.6.8-0")
				if etcd != strings.Contains(name, "API") {
					t.Errorf("etcd's manifest is new: %v", etcd)
				}
				for _, d := range differences(before, w.trees(t)[0]) {
					if !strings.Contains(d, "/etc/kubernetes/tmp/") {
						t.Error(d)
					}
				}
			})
		})
	}
}
