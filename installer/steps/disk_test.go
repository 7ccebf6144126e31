package steps

import (
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestBundleTellsWhatItTakes(t *testing.T) {
	images := stepstest.Cluster()
	pause := "registry.k8s.io/pause:3.10.2"
	images = append(images,
		stepstest.Image{Name: "example.com/same:v1", Files: images[3].Files, Gzip: true}, // the layer of pause
		stepstest.Image{Name: "registry.k8s.io/etcd:3.6", Files: map[string]string{"etcd": strings.Repeat("e", 1<<20)}, Gzip: true},
	)
	if images[3].Name != pause {
		t.Fatalf("%s is not %s", images[3].Name, pause)
	}
	r := loaded(t, images, oneMaster, hostAt("127.0.0.3", 0, false))
	s, err := r.Payload.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tarOf := func(n int64) int64 { return 512 + n } // of one file, as stepstest writes it
	pauseTar, careTar, etcdTar := tarOf(3000), tarOf(5), tarOf(1<<20)
	if packed := s.System - pauseTar - careTar; packed <= 0 || packed > 1000 {
		t.Errorf("every node's images take %d, of which %d and %d unpacked", s.System, pauseTar, careTar)
	}
	if packed := s.Control - etcdTar; packed <= 0 || packed > 8000 {
		t.Errorf("those of the control plane take %d, of which %d unpacked", s.Control, etcdTar)
	}
	if s.Images != s.System+s.Control {
		t.Errorf("all images take %d: the shared layer counts twice, or not at all", s.Images)
	}
	if s.Registry <= 0 || s.Registry > s.Images || s.Rootfs != r.Payload.Images[0].Layers[0].Size || s.Stub == 0 {
		t.Errorf("%+v", s)
	}
	master, worker := r.NeedOf(r.Targets[0], s), r.NeedOf(r.Targets[1], s)
	if worker.Least["/var/lib/registry"] != 0 || worker.Least["/var/lib/containerd"] != s.System || worker.Most["/var/lib/containerd"] != s.Images {
		t.Errorf("a node needs %+v", worker)
	}
	if master.Least["/var/lib/registry"] != s.Registry || master.Least["/var/lib/containerd"] != s.Images || master.Least[installer.DataRoot] != s.Stub+s.Rootfs+s.Apps {
		t.Errorf("a master needs %+v", master)
	}
	r.Targets[1].Journal.Note(journal.Init, "x")
	r.Targets[1].Facts.Filled = map[string]bool{"/usr/bin/kubelet": true, "/var/lib/containerd": true}
	if got := r.NeedOf(r.Targets[1], s); len(got.Most) > 0 {
		t.Errorf("a host where it was begun needs %+v", got)
	}
	r.Targets[1].Env = map[string]string{"criData": "/data/cri"}
	if got := r.NeedOf(r.Targets[1], s); len(got.Most) != 1 || got.Most["/data/cri"] != s.Images {
		t.Errorf("a host where images are to lie elsewhere needs %+v", got)
	}
}

func TestPlacesComeFromTheEnvironment(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), oneMaster)
	r.Cluster.Env = map[string]string{"criData": "/data/cri", "registryData": "/data/registry"}
	r.Targets[0].Env = map[string]string{"BIN_DIR": "/opt/bin"}
	p := r.PlacesOf(r.Targets[0])
	if p.CRI != "/data/cri" || p.Registry != "/data/registry" || p.Bin != "/opt/bin" {
		t.Errorf("%+v", p)
	}
}

func TestChecksSeeTheConfigurationOfTheImageAndTheUser(t *testing.T) {
	images := stepstest.Cluster()
	images[0].Files["etc/kubeadm.yml"] = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.50.0.0/16}\n"
	r := loaded(t, images, oneMaster)
	r.Targets[0].Facts.Hostname = "a"
	r.Cluster.Kubeadm = [][]byte{[]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n")}
	k, err := r.SettingsFor(r.Targets[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Pods) != 1 || k.Pods[0].String() != "10.50.0.0/16" || k.FailCgroupV1 || k.Minor != 36 || k.Evict["nodefs.available"] == "" {
		t.Errorf("%+v", k)
	}
	if r.Targets[0].Overlays != nil {
		t.Error("looking left overlays behind")
	}
	r.Cluster.Env = map[string]string{"defaultVIP": "10.50.1.1"}
	if _, err := r.SettingsFor(r.Targets[0]); err == nil || !strings.Contains(err.Error(), "10.50.1.1") {
		t.Errorf("a virtual address among the pods: %v", err)
	}
}
