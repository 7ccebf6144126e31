package steps

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// finishedWorld is a simulated site with a finished cluster.
func finishedWorld(t *testing.T, masters, nodes int) *world {
	t.Helper()
	w := newWorld(t, memoryDir(t), simBundle(t), masters, nodes)
	w.Arm(nil)
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	return w
}

// bundleWith is the bundle of simulated sites with other images.
func bundleWith(t *testing.T, change func([]stepstest.Image) []stepstest.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := stepstest.Write(&buf, []byte("the stub\n"), change(simImages())); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// record is the record on this machine.
func (w *world) record(t *testing.T) (string, *installer.Cluster) {
	t.Helper()
	return readRecordAt(t, filepath.Join(w.dir, ledger.ClusterfileName))
}

// recordOn is the record on a machine of the site.
func (w *world) recordOn(t *testing.T, machine int) (string, *installer.Cluster) {
	t.Helper()
	return readRecordAt(t, filepath.Join(w.Machines()[machine].Root(), ledger.RecordOnMaster("default")))
}

func readRecordAt(t *testing.T, name string) (string, *installer.Cluster) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := installer.ParseClusterfile(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), c
}

func TestARunThatFailsOnAFinishedClusterIsRecordedAsFailed(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	good := w.bundle
	if text, _ := w.record(t); !strings.Contains(text, "phase: ClusterSuccess") {
		t.Fatalf("a finished cluster is recorded as\n%s", text)
	}
	w.bundle = bundleWith(t, func(images []stepstest.Image) []stepstest.Image {
		images[1].Config.Cmd = []string{"bash missing.sh"}
		return images
	})
	if _, err := w.run(t.Context(), Install()); err == nil {
		t.Fatal("a command that fails is no failure")
	}
	text, c := w.record(t)
	for _, want := range []string{"phase: ClusterFailed", "type: ApplyClusterError", "reason: guest", "commandCondition:", "- localhost/app:v1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not recorded:\n%s", want, text)
		}
	}
	if len(c.Hosts) != 2 {
		t.Errorf("hosts of the failed run: %v", c.IPs())
	}
	// The settings of the run before are still known, and the same command as then ends the failure.
	if _, err := os.Stat(filepath.Join(w.dir, ledger.LastClusterfileName)); err != nil {
		t.Error(err)
	}
	w.bundle = good
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	if text, _ := w.record(t); !strings.Contains(text, "phase: ClusterSuccess") {
		t.Errorf("after the failure was mended:\n%s", text)
	}
}

func TestARunThatChangesNothingLeavesTheRecordByteForByte(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	before, _ := w.record(t)
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Fatalf("%d changes, %v", changes, err)
	}
	after, _ := w.record(t)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the record (-before +after):\n%s", diff)
	}
}

func TestAnotherKubernetesOrRootfsIsRefusedBeforeAnythingChanges(t *testing.T) {
	for name, change := range map[string]func([]stepstest.Image) []stepstest.Image{
		"another version": func(images []stepstest.Image) []stepstest.Image {
			images[0].Name = "localhost/kubernetes:v1.37.0"
			images[0].Config.Labels["version"] = "v1.37.0"
			return images
		},
		"another build of the version": func(images []stepstest.Image) []stepstest.Image {
			images[0].Files["bin/tool"] = "another program\n"
			return images
		},
		"a patch": func(images []stepstest.Image) []stepstest.Image {
			return append(images, stepstest.Image{Name: "localhost/patch:v1", Type: "patch", Files: map[string]string{"etc/more.conf": "x\n"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := finishedWorld(t, 1, 1)
			for _, m := range w.Machines() { // the mark that distribute-rootfs sets
				if _, err := os.Stat(filepath.Join(m.Root(), "/var/lib/sealos/data/default/journal", journal.Images)); err != nil {
					t.Fatalf("the host does not tell what lies on it: %v", err)
				}
			}
			before, _ := w.record(t)
			made := w.trees(t)
			w.bundle = bundleWith(t, change)
			for verb, pipeline := range map[string][]Step{"install": Install(), "cert": Certificates(true, []string{"all"}, func([]HostCertificates) {})} {
				_, err := w.run(t.Context(), pipeline)
				var refused *preflight.Error
				if !errors.As(err, &refused) || len(refused.Problems) == 0 || refused.Problems[0].Check != "version" {
					t.Fatalf("%s: %v", verb, err)
				}
			}
			if after, _ := w.record(t); after != before {
				t.Errorf("the record changed:\n%s", cmp.Diff(before, after))
			}
			for i, tree := range w.trees(t) {
				if diff := differences(made[i], tree); len(diff) > 0 {
					t.Errorf("host %d changed:\n%s", i, strings.Join(diff, "\n"))
				}
			}
		})
	}
}

func TestAKubeletThatSomebodyElseHasChangedIsNoticed(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.Kubelet = "v1.36.3"
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Fatalf("%d changes, %v", changes, err)
	}
	w.Kubelet = "v1.37.0"
	_, err := w.run(t.Context(), Install())
	var refused *preflight.Error
	if !errors.As(err, &refused) || refused.Problems[0].Check != "version" || !strings.Contains(refused.Problems[0].Message, "kubelet v1.37.0") {
		t.Errorf("%v", err)
	}
}

func TestFewerHostsShrinkNeitherTheRecordNorTheCluster(t *testing.T) {
	w := finishedWorld(t, 3, 2)
	// Another control machine, which has no record, is given one master and one worker.
	elsewhere := *w
	elsewhere.dir = t.TempDir()
	all := w.hosts()
	elsewhere.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: []installer.Host{all[1], all[4]}} }
	made := w.trees(t)
	if _, err := elsewhere.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	for i, tree := range w.trees(t) {
		diff := slices.DeleteFunc(differences(made[i], tree), func(d string) bool {
			return i == 1 && strings.Contains(d, "/applications") // it speaks for the cluster now
		})
		if len(diff) > 0 {
			t.Errorf("host %d changed:\n%s", i, strings.Join(diff, "\n"))
		}
	}
	_, here := w.record(t)
	for name, got := range map[string]func() (string, *installer.Cluster){
		"on this machine":  func() (string, *installer.Cluster) { return elsewhere.record(t) },
		"on a master":      func() (string, *installer.Cluster) { return w.recordOn(t, 1) },
		"on a master away": func() (string, *installer.Cluster) { return w.recordOn(t, 0) },
	} {
		text, c := got()
		if diff := cmp.Diff(here.IPs(), c.IPs()); diff != "" {
			t.Errorf("hosts recorded %s (-want +got):\n%s", name, diff)
		}
		if name == "on this machine" && !strings.Contains(text, "not looked at: "+all[0].IP.String()) {
			t.Errorf("the record claims more than was looked at:\n%s", text)
		}
	}
}

func TestApplicationsOfAnEarlierBundleStayRecorded(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	w.bundle = bundleWith(t, func(images []stepstest.Image) []stepstest.Image {
		images[1].Name = "localhost/another:v1"
		return images
	})
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	text, c := w.record(t)
	for _, want := range []string{"localhost/app:v1", "localhost/another:v1", "localhost/kubernetes:v1.36.3"} {
		if !slices.Contains(c.Images, want) {
			t.Errorf("%s is not recorded:\n%s", want, text)
		}
		if !slices.ContainsFunc(c.Status.Mounts, func(m installer.Mount) bool { return m.ImageName == want }) {
			t.Errorf("where %s lies is not recorded:\n%s", want, text)
		}
	}
}

func TestAHostOfAnotherClusterWithTheSameNameIsRefused(t *testing.T) {
	w := finishedWorld(t, 1, 1)
	elsewhere := *w
	elsewhere.dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(elsewhere.dir, "pki"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere.dir, "pki", "ca.crt"), []byte("another authority\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	made := w.trees(t)
	for verb, pipeline := range map[string][]Step{"install": Install(), "reset": Reset(), "cert": Certificates(true, []string{"all"}, func([]HostCertificates) {})} {
		_, err := elsewhere.run(t.Context(), pipeline)
		var refused *preflight.Error
		if !errors.As(err, &refused) || refused.Problems[0].Check != "another-cluster" {
			t.Errorf("%s: %v", verb, err)
		}
	}
	for i, tree := range w.trees(t) {
		if diff := differences(made[i], tree); len(diff) > 0 {
			t.Errorf("host %d changed:\n%s", i, strings.Join(diff, "\n"))
		}
	}
}

func TestAResetOfAPartOfTheClusterIsRefused(t *testing.T) {
	w := finishedWorld(t, 3, 1)
	elsewhere := *w
	elsewhere.dir = t.TempDir()
	elsewhere.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: w.hosts()[:2]} }
	made := w.trees(t)
	_, err := elsewhere.run(t.Context(), Reset())
	var refused *preflight.Error
	if !errors.As(err, &refused) || len(refused.Problems) != 2 || !strings.Contains(refused.Problems[0].Remedy, "--leave-out") {
		t.Fatalf("%v", err)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(made[i], tree); len(diff) > 0 {
			t.Errorf("host %d changed:\n%s", i, strings.Join(diff, "\n"))
		}
	}
}

func TestAResetThatLeavesAHostOutForgetsNothing(t *testing.T) {
	w := finishedWorld(t, 3, 1)
	away := w.hosts()
	away[2].Away = true
	w.leaveOut = []string{away[2].IP.String()}
	w.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: slices.Clone(away)} }
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	text, c := w.record(t)
	if !c.Status.TakenApart() || !strings.Contains(text, "not reset: "+w.leaveOut[0]) || len(c.Hosts) != 4 {
		t.Errorf("recorded:\n%s", text)
	}
	for _, secret := range []string{"pki/ca.key", "registry-password"} {
		if _, err := os.Stat(filepath.Join(w.dir, secret)); err != nil {
			t.Errorf("forgotten: %v", err)
		}
	}
	// When the host is back, a reset of the whole cluster resets it, too; then no record is left.
	w.wish, w.leaveOut = nil, nil
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, ledger.ClusterfileName)); err == nil {
		t.Error("the cluster is still recorded")
	}
	if bad := w.Gone(); len(bad) > 0 {
		t.Error(bad)
	}
}

func TestANewClusterInPlaceOfOneTakenApartHasItsOwnAuthority(t *testing.T) {
	w := finishedWorld(t, 2, 1)
	old, err := os.ReadFile(filepath.Join(w.dir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := w.hosts()
	hosts[1].Away = true
	w.leaveOut = []string{hosts[1].IP.String()}
	w.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: slices.Clone(hosts)} }
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	w.wish = func() *installer.Cluster { return &installer.Cluster{Hosts: []installer.Host{hosts[0], hosts[2]}} }
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(filepath.Join(w.dir, "pki", "ca.crt"))
	if err != nil || bytes.Equal(old, made) {
		t.Errorf("the new cluster has the authority of the old one (%v)", err)
	}
}

func TestSecretsOfARefusedRunAreNotAnotherSites(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), oneMaster)
	if err := r.Ledger.OwnState(); err != nil {
		t.Fatal(err)
	}
	if err := r.State.Write("pki/ca.key", 0o600, []byte("of the first site")); err != nil {
		t.Fatal(err)
	}
	again := func(hosts ...installer.Host) {
		t.Helper()
		c := *r.Cluster
		c.Hosts = hosts
		r.Cluster = &c
		if err := r.Ledger.OwnState(); err != nil {
			t.Fatal(err)
		}
	}
	again(oneMaster, hostAt("127.0.0.3", 0, true))
	if _, err := os.Stat(r.State.Path("pki/ca.key")); err != nil {
		t.Errorf("the same site lost its secrets: %v", err)
	}
	again(hostAt("127.0.0.77", 0, true))
	for _, name := range []string{"pki/ca.key", "registry-password"} {
		if _, err := os.Stat(r.State.Path(name)); err == nil {
			t.Errorf("another site shares %s", name)
		}
	}
}

func TestALoopbackAddressWithAPortIsNeverThisMachine(t *testing.T) {
	tunnel := hostAt("127.0.0.1", 1, true) // nothing listens there
	tunnel.Tunnel = true
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), tunnel)
	_, err := r.Dial(t.Context(), r.Targets[0])
	if err == nil {
		t.Fatal("this machine was taken for the host behind a tunnel")
	}
	if problems := tunnelled(r.Targets); len(problems) != 1 || !strings.Contains(problems[0].Remedy, "HostName 127.0.0.1, Port 1") {
		t.Errorf("problems: %+v", problems)
	}
	if problems := tunnelled([]*fleet.Target{{Host: hostAt("10.0.0.2", 2222, true)}}); len(problems) > 0 {
		t.Errorf("an address with a port: %+v", problems)
	}
}
