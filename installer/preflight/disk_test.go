package preflight

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestDiskNeedsAreAddedUpPerMount(t *testing.T) {
	const gib = 1 << 30
	n := Needs{
		Least: map[string]int64{"/var/lib/sealos": 1 * gib, "/var/lib/registry": 2 * gib, "/var/lib/containerd": 4 * gib},
		Most:  map[string]int64{"/var/lib/sealos": 1 * gib, "/var/lib/registry": 2 * gib, "/var/lib/containerd": 6 * gib},
	}
	root := func(free uint64) agent.Mount { return agent.Mount{Path: "/", Total: 100 * gib, Free: free} }
	registry := func(free uint64) agent.Mount {
		return agent.Mount{Path: "/var/lib/registry", Total: 100 * gib, Free: free}
	}
	evict := Settings{Evict: map[string]string{"imagefs.available": "10%", "nodefs.available": "5%"}}
	cases := map[string]struct {
		disks map[string]agent.Mount
		kube  Settings
		want  []string // mounts that are told
	}{
		"one disk, each alone would fit": {disks: map[string]agent.Mount{"/var/lib/sealos": root(6 * gib), "/var/lib/registry": root(6 * gib), "/var/lib/containerd": root(6 * gib)}, want: []string{"/"}},
		"one disk, just enough":          {disks: map[string]agent.Mount{"/var/lib/sealos": root(9 * gib), "/var/lib/registry": root(9 * gib), "/var/lib/containerd": root(9 * gib)}},
		"enough for the host's share":    {disks: map[string]agent.Mount{"/var/lib/sealos": root(7 * gib), "/var/lib/registry": root(7 * gib), "/var/lib/containerd": root(7 * gib)}, want: []string{"warning: /"}},
		"two disks, just enough":         {disks: map[string]agent.Mount{"/var/lib/sealos": root(7 * gib), "/var/lib/registry": registry(2 * gib), "/var/lib/containerd": root(7 * gib)}},
		"the second is small":            {disks: map[string]agent.Mount{"/var/lib/sealos": root(7 * gib), "/var/lib/registry": registry(2*gib - 1), "/var/lib/containerd": root(7 * gib)}, want: []string{"/var/lib/registry"}},
		"both are small":                 {disks: map[string]agent.Mount{"/var/lib/sealos": root(1), "/var/lib/registry": registry(1), "/var/lib/containerd": root(1)}, want: []string{"/", "/var/lib/registry"}},
		"too little left for kubelet":    {disks: map[string]agent.Mount{"/var/lib/containerd": root(14*gib - 1), "/var/lib/kubelet": root(14*gib - 1)}, kube: evict, want: []string{"/"}},
		"all left for kubelet":           {disks: map[string]agent.Mount{"/var/lib/containerd": root(16 * gib), "/var/lib/kubelet": root(16 * gib)}, kube: evict},
		"images on a disk of their own":  {disks: map[string]agent.Mount{"/var/lib/containerd": registry(14*gib - 1), "/var/lib/kubelet": root(1)}, kube: evict, want: []string{"/var/lib/registry"}},
		"a server that is away":          {disks: map[string]agent.Mount{"/var/lib/registry": {Path: "/nfs"}}, want: []string{"warning: /nfs"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range DiskProblems(viewOf(agent.Facts{Disks: c.disks}, func(v *Host) { v.Settings, v.Needs.Least, v.Needs.Most = c.kube, n.Least, n.Most })) {
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

func TestConfigurationForKubeadmIsReadBack(t *testing.T) {
	k, err := ReadSettings([]byte("kind: InitConfiguration\nnodeRegistration:\n  ignorePreflightErrors: [NumCPU]\n---\nkind: ClusterConfiguration\napiServer: {extraArgs: [{name: a, value: b}]}\n---\n" +
		"kind: KubeletConfiguration\nfailCgroupV1: false\nevictionHard: {nodefs.available: \"10%\", imagefs.available: 1Gi, memory.available: 0%, nodefs.inodesFree: 5k}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if k.FailCgroupV1 || !k.ignores("numcpu") || k.ignores("Mem") {
		t.Errorf("%+v", k)
	}
	for signal, want := range map[string]uint64{"nodefs.available": 100, "imagefs.available": 1 << 30, "memory.available": 0, "nodefs.inodesFree": 5000, "none": 0} {
		if got := k.threshold(signal, 1000); got != want {
			t.Errorf("%s: %d, want %d", signal, got, want)
		}
	}
	if k, err := ReadSettings(nil); err != nil || !k.FailCgroupV1 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := ReadSettings([]byte("{")); err == nil {
		t.Error("rubbish was read")
	}
	for version, want := range map[string]int{"v1.36.3": 36, "1.35.0-rc.1": 35, "v2.1.0": 0, "": 0, "v1": 0, "v1.x": 0} {
		if got := MinorOf(version); got != want {
			t.Errorf("minorOf(%q) = %d", version, got)
		}
	}
}
