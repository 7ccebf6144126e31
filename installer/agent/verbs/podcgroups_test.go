package verbs_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroups makes control groups of a machine: path -> processes.
func cgroups(t *testing.T, m *agenttest.Machine, groups map[string]string) {
	t.Helper()
	for dir := range maps.Keys(groups) {
		filestest.Write(t, m.Files().Path(filepath.Join(cgroupRoot, dir, "cgroup.procs")), groups[dir], 0o644)
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
		m := &agenttest.Machine{Root: t.TempDir(), Exec: func(_ context.Context, q agent.ExecRequest) (agent.ExecResult, error) {
			argv := q.Argv
			if argv[1] == "list-units" {
				return agent.ExecResult{Stdout: []byte(units)}, nil
			}
			ran = append(ran, strings.Join(argv[1:], " "))
			return agent.ExecResult{}, nil
		}}
		filestest.Write(t, m.Files().Path("/proc/17/comm"), "shop\n", 0o644)
		filestest.Write(t, m.Files().Path("/run/systemd/system/x"), "", 0o644)
		if strings.HasPrefix(name, "version 2") {
			filestest.Write(t, m.Files().Path(cgroupRoot+"/cgroup.controllers"), "cpu\n", 0o644)
		}
		cgroups(t, m, tc.groups)
		busy, err := m.Agent("stub").RemovePodCgroups(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.busy, busy); diff != "" {
			t.Errorf("%s: busy (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.want, ran); diff != "" {
			t.Errorf("%s: ran (-want +got):\n%s", name, diff)
		}
	}
}

func TestEmptyGroupsOfPodsGoAndOthersStay(t *testing.T) {
	m := &agenttest.Machine{Root: t.TempDir(), Exec: func(context.Context, agent.ExecRequest) (agent.ExecResult, error) { return agent.ExecResult{}, nil }}
	for _, dir := range []string{"cpu/kubepods/besteffort/pod1/c", "memory/kubepods/burstable", "memory/system.slice", "memory/docker/kubepods"} {
		if err := os.MkdirAll(m.Files().Path(filepath.Join(cgroupRoot, dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Agent("stub").RemovePodCgroups(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/memory/docker/kubepods/", "/sys/fs/cgroup/memory/system.slice/"}
	if diff := cmp.Diff(want, filestest.Below(t, m.Root, cgroupRoot)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
