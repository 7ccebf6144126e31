package agent

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cgroups makes control groups of a machine: path -> processes.
func cgroups(t *testing.T, m machine, groups map[string]string) {
	t.Helper()
	for dir := range maps.Keys(groups) {
		write(t, m.path(filepath.Join(cgroupRoot, dir, "cgroup.procs")), groups[dir], 0o644)
	}
}

func TestSlicesOfPodsAreStoppedWhenNothingRunsInThem(t *testing.T) {
	const units = "kubepods-besteffort-pod1_2.slice loaded active active x\n● kubepods-besteffort.slice loaded active active x\nkubepods.slice loaded active active x\nkubepodsx.slice loaded\nuser.slice loaded\n"
	for name, tc := range map[string]struct {
		groups map[string]string
		want   []string
		busy   []string
	}{
		"version 2, idle": {
			map[string]string{"": "", "kubepods.slice": "", "kubepods.slice/kubepods-besteffort.slice": "", "system.slice/kubepods": "9\n"},
			[]string{"stop kubepods-besteffort-pod1_2.slice kubepods-besteffort.slice kubepods.slice"},
			nil,
		},
		"version 2, busy": {
			map[string]string{"": "", "kubepods.slice/kubepods-besteffort.slice": "17\n"}, nil, []string{"/sys/fs/cgroup/kubepods.slice (process 17, shop)"},
		},
		"version 1, busy in two controllers": {
			map[string]string{"cpu/kubepods.slice": "17\n", "memory/kubepods.slice": "17\n"}, nil, []string{"/sys/fs/cgroup/cpu/kubepods.slice (process 17, shop)"},
		},
		"none": {map[string]string{"cpu/user.slice": "1\n"}, []string{"stop kubepods-besteffort-pod1_2.slice kubepods-besteffort.slice kubepods.slice"}, nil},
	} {
		var ran []string
		m := programs(t, func(_ machine, argv []string) ExecResult {
			if argv[1] == "list-units" {
				return ExecResult{Stdout: []byte(units)}
			}
			ran = append(ran, strings.Join(argv[1:], " "))
			return ExecResult{}
		})
		write(t, m.path("/proc/17/comm"), "shop\n", 0o644)
		write(t, m.path("/run/systemd/system/x"), "", 0o644)
		if strings.HasPrefix(name, "version 2") {
			write(t, m.path(cgroupRoot+"/cgroup.controllers"), "cpu\n", 0o644)
		}
		cgroups(t, m, tc.groups)
		res, err := m.podCgroups(t.Context(), podCgroupsRequest{}, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(podCgroupsResult{tc.busy}, res); diff != "" {
			t.Errorf("%s: busy (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.want, ran); diff != "" {
			t.Errorf("%s: ran (-want +got):\n%s", name, diff)
		}
	}
}

func TestEmptyGroupsOfPodsGoAndOthersStay(t *testing.T) {
	m := programs(t, func(machine, []string) ExecResult { return ExecResult{} })
	for _, dir := range []string{"cpu/kubepods/besteffort/pod1/c", "memory/kubepods/burstable", "memory/system.slice", "memory/docker/kubepods"} {
		if err := os.MkdirAll(m.path(filepath.Join(cgroupRoot, dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.podCgroups(t.Context(), podCgroupsRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/memory/docker/kubepods/", "/sys/fs/cgroup/memory/system.slice/"}
	if diff := cmp.Diff(want, below(t, m, cgroupRoot)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
