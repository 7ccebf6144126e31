package steps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/node"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestDiskNeedsAreAddedUpPerMount(t *testing.T) {
	const gib = 1 << 30
	n := needs{
		least: map[string]int64{dataRoot: 1 * gib, "/var/lib/registry": 2 * gib, "/var/lib/containerd": 4 * gib},
		most:  map[string]int64{dataRoot: 1 * gib, "/var/lib/registry": 2 * gib, "/var/lib/containerd": 6 * gib},
	}
	root := func(free uint64) node.Mount { return node.Mount{Path: "/", Total: 100 * gib, Free: free} }
	registry := func(free uint64) node.Mount {
		return node.Mount{Path: "/var/lib/registry", Total: 100 * gib, Free: free}
	}
	evict := kubeFacts{evict: map[string]string{"imagefs.available": "10%", "nodefs.available": "5%"}}
	cases := map[string]struct {
		disks map[string]node.Mount
		kube  kubeFacts
		want  []string // mounts that are told
	}{
		"one disk, each alone would fit": {disks: map[string]node.Mount{dataRoot: root(6 * gib), "/var/lib/registry": root(6 * gib), "/var/lib/containerd": root(6 * gib)}, want: []string{"/"}},
		"one disk, just enough":          {disks: map[string]node.Mount{dataRoot: root(9 * gib), "/var/lib/registry": root(9 * gib), "/var/lib/containerd": root(9 * gib)}},
		"enough for the host's share":    {disks: map[string]node.Mount{dataRoot: root(7 * gib), "/var/lib/registry": root(7 * gib), "/var/lib/containerd": root(7 * gib)}, want: []string{"warning: /"}},
		"two disks, just enough":         {disks: map[string]node.Mount{dataRoot: root(7 * gib), "/var/lib/registry": registry(2 * gib), "/var/lib/containerd": root(7 * gib)}},
		"the second is small":            {disks: map[string]node.Mount{dataRoot: root(7 * gib), "/var/lib/registry": registry(2*gib - 1), "/var/lib/containerd": root(7 * gib)}, want: []string{"/var/lib/registry"}},
		"both are small":                 {disks: map[string]node.Mount{dataRoot: root(1), "/var/lib/registry": registry(1), "/var/lib/containerd": root(1)}, want: []string{"/", "/var/lib/registry"}},
		"too little left for kubelet":    {disks: map[string]node.Mount{"/var/lib/containerd": root(14*gib - 1), "/var/lib/kubelet": root(14*gib - 1)}, kube: evict, want: []string{"/"}},
		"all left for kubelet":           {disks: map[string]node.Mount{"/var/lib/containerd": root(16 * gib), "/var/lib/kubelet": root(16 * gib)}, kube: evict},
		"images on a disk of their own":  {disks: map[string]node.Mount{"/var/lib/containerd": registry(14*gib - 1), "/var/lib/kubelet": root(1)}, kube: evict, want: []string{"/var/lib/registry"}},
		"a server that is away":          {disks: map[string]node.Mount{"/var/lib/registry": {Path: "/nfs"}}, want: []string{"warning: /nfs"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range diskProblems(viewOf(node.Facts{Disks: c.disks}, func(v *view) { v.kube, v.needs.least, v.needs.most = c.kube, n.least, n.most })) {
				mount, _, _ := strings.Cut(p.Message, " ")
				if p.Warning {
					mount = "warning: " + mount
				}
				got = append(got, mount)
				if p.Check != "disk" || p.Remedy == "" {
					t.Errorf("problem %+v", p)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("mounts told (-want +got):\n%s", diff)
			}
		})
	}
}

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
	s, err := r.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tarOf := func(n int64) int64 { return 512 + n } // of one file, as stepstest writes it
	pauseTar, careTar, etcdTar := tarOf(3000), tarOf(5), tarOf(1<<20)
	if packed := s.system - pauseTar - careTar; packed <= 0 || packed > 1000 {
		t.Errorf("every node's images take %d, of which %d and %d unpacked", s.system, pauseTar, careTar)
	}
	if packed := s.control - etcdTar; packed <= 0 || packed > 8000 {
		t.Errorf("those of the control plane take %d, of which %d unpacked", s.control, etcdTar)
	}
	if s.images != s.system+s.control {
		t.Errorf("all images take %d: the shared layer counts twice, or not at all", s.images)
	}
	if s.registry <= 0 || s.registry > s.images || s.rootfs != r.images[0].Layers[0].Size || s.stub == 0 {
		t.Errorf("%+v", s)
	}
	master, worker := r.needOf(r.Targets[0], s), r.needOf(r.Targets[1], s)
	if worker.least["/var/lib/registry"] != 0 || worker.least["/var/lib/containerd"] != s.system || worker.most["/var/lib/containerd"] != s.images {
		t.Errorf("a node needs %+v", worker)
	}
	if master.least["/var/lib/registry"] != s.registry || master.least["/var/lib/containerd"] != s.images || master.least[dataRoot] != s.stub+s.rootfs+s.apps {
		t.Errorf("a master needs %+v", master)
	}
	r.Targets[1].marks = map[string]string{markInit: "x"}
	r.Targets[1].Facts.Filled = map[string]bool{"/usr/bin/kubelet": true, "/var/lib/containerd": true}
	if got := r.needOf(r.Targets[1], s); len(got.most) > 0 {
		t.Errorf("a host where it was begun needs %+v", got)
	}
	r.Targets[1].Env = map[string]string{"criData": "/data/cri"}
	if got := r.needOf(r.Targets[1], s); len(got.most) != 1 || got.most["/data/cri"] != s.images {
		t.Errorf("a host where images are to lie elsewhere needs %+v", got)
	}
}

func TestPlacesComeFromTheEnvironment(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), oneMaster)
	r.Cluster.Env = map[string]string{"criData": "/data/cri", "registryData": "/data/registry"}
	r.Targets[0].Env = map[string]string{"BIN_DIR": "/opt/bin"}
	p := r.placesOf(r.Targets[0])
	if p.cri != "/data/cri" || p.registry != "/data/registry" || p.bin != "/opt/bin" {
		t.Errorf("%+v", p)
	}
}

func TestSizeOfAGzipIsCompletedOrGuessed(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		packed int64
		told   uint32
		want   int64
	}{
		{100, 1000, 1000},
		{1000, 990, 990},                 // stored, not compressed
		{100 << 20, 1024, 3 * 100 << 20}, // the last of several members
		{2 * gib, 1 * gib, 5 * gib},      // went round once
		{2 * gib, 3 * gib, 3 * gib},
		{5 * gib, 2 * gib, 6 * gib},
	} {
		if got := gzipSize(c.packed, c.told); got != c.want {
			t.Errorf("gzipSize(%d, %d) = %d, want %d", c.packed, c.told, got, c.want)
		}
	}
}

func TestConfigurationForKubeadmIsReadBack(t *testing.T) {
	k, err := readKubeFacts([]byte("kind: InitConfiguration\nnodeRegistration:\n  ignorePreflightErrors: [NumCPU]\n---\nkind: ClusterConfiguration\napiServer: {extraArgs: [{name: a, value: b}]}\n---\n" +
		"kind: KubeletConfiguration\nfailCgroupV1: false\nevictionHard: {nodefs.available: \"10%\", imagefs.available: 1Gi, memory.available: 0%, nodefs.inodesFree: 5k}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if k.failCgroupV1 || !k.ignores("numcpu") || k.ignores("Mem") {
		t.Errorf("%+v", k)
	}
	for signal, want := range map[string]uint64{"nodefs.available": 100, "imagefs.available": 1 << 30, "memory.available": 0, "nodefs.inodesFree": 5000, "none": 0} {
		if got := k.threshold(signal, 1000); got != want {
			t.Errorf("%s: %d, want %d", signal, got, want)
		}
	}
	if k, err := readKubeFacts(nil); err != nil || !k.failCgroupV1 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := readKubeFacts([]byte("{")); err == nil {
		t.Error("rubbish was read")
	}
	for version, want := range map[string]int{"v1.36.3": 36, "1.35.0-rc.1": 35, "v2.1.0": 0, "": 0, "v1": 0, "v1.x": 0} {
		if got := minorOf(version); got != want {
			t.Errorf("minorOf(%q) = %d", version, got)
		}
	}
}

func TestChecksSeeTheConfigurationOfTheImageAndTheUser(t *testing.T) {
	images := stepstest.Cluster()
	images[0].Files["etc/kubeadm.yml"] = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.50.0.0/16}\n"
	r := loaded(t, images, oneMaster)
	r.Targets[0].Facts.Hostname = "a"
	r.Cluster.Kubeadm = [][]byte{[]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n")}
	k, err := r.kubeFactsFor(r.Targets[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(k.pods) != 1 || k.pods[0].String() != "10.50.0.0/16" || k.failCgroupV1 || k.minor != 36 || k.evict["nodefs.available"] == "" {
		t.Errorf("%+v", k)
	}
	if r.Targets[0].overlays != nil {
		t.Error("looking left overlays behind")
	}
	r.Cluster.Env = map[string]string{"defaultVIP": "10.50.1.1"}
	if _, err := r.kubeFactsFor(r.Targets[0]); err == nil || !strings.Contains(err.Error(), "10.50.1.1") {
		t.Errorf("a virtual address among the pods: %v", err)
	}
}
