package support

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/status"
)

// Paths and shapes are those that sbctl (pkg/api, pkg/sbctl, pkg/util) and troubleshoot's analyzers (pkg/analyze, v0.133.0) read.
func TestABundleHasWhatReadersOfTroubleshootNeed(t *testing.T) {
	s := newSim(t, 2, true)
	s.hosts[0].api = newAPI()
	s.hosts[0].write("/var/log/pods/kube-system_etcd-m1_uid/etcd/2.log", "2026-01-02T03:04:05.1Z stderr F of now\n")
	s.hosts[0].write("/var/log/pods/kube-system_etcd-m1_uid/etcd/1.log", "2026-01-02T03:04:05.1Z stderr F of before\n")
	s.hosts[0].write("/var/log/pods/shop_web_uid/web/0.log", "2026-01-02T03:04:05.1Z stdout F of an application\n")
	files, sum := s.make(t)
	if len(sum.Missing) > 0 {
		t.Errorf("missing: %+v", sum.Missing)
	}
	need := []string{"version.yaml", "analysis.json", "index.html", "cluster-info/cluster_version.json", "host-collectors/system/node_list.json"}
	for _, name := range []string{ // one file
		"namespaces", "nodes", "pvs", "storage-classes", "custom-resource-definitions", "clusterroles", "clusterrolebindings", "priorityclasses",
		"volumeattachments", "ingress-classes", "certificatesigningrequests", "groups", "resources",
		"validating-webhook-configurations", "mutating-webhook-configurations",
	} {
		need = append(need, "cluster-resources/"+name+".json")
	}
	for _, name := range []string{ // a file for each namespace, also for one without such objects
		"pods", "events", "deployments", "daemonsets", "statefulsets", "replicasets", "services", "endpoints", "endpointslices", "configmaps", "serviceaccounts",
		"pvcs", "jobs", "cronjobs", "ingress", "network-policy", "pod-disruption-budgets", "resource-quota", "limitranges", "leases", "roles", "rolebindings",
	} {
		need = append(need, "cluster-resources/"+name+"/default.json", "cluster-resources/"+name+"/kube-system.json")
	}
	need = append(need, "cluster-resources/custom-resources/things.site.io/default.json",
		"cluster-resources/pods/logs/kube-system/etcd-m1/etcd.log", "cluster-resources/pods/logs/kube-system/etcd-m1/etcd-previous.log")
	for _, h := range []string{"10.0.0.2", "10.0.0.3"} {
		for _, name := range []string{"hostos_info", "cpu", "memory", "time", "systemctl_services", "kernel_modules", "block_devices", "sysctl"} {
			need = append(need, "host-collectors/system/"+h+"/"+name+".json")
		}
		for _, name := range []string{"kernel", "disks", "memory", "processes", "ip-address", "versions", "unit-states"} {
			need = append(need, "host-collectors/run-host/"+h+"/"+name+".txt", "host-collectors/run-host/"+h+"/"+name+"-info.json")
		}
		for _, name := range []string{"kernel", "kubelet", "containerd", "registry", care.Unit} {
			need = append(need, "host-collectors/journald/"+h+"/"+name+".txt", "host-collectors/journald/"+h+"/"+name+"-info.json")
		}
	}
	for _, name := range need {
		text, ok := files[name]
		if !ok {
			t.Errorf("%s is not there", name)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON: %.200s", name, text)
		}
	}
	for name := range files {
		if strings.Contains(name, "shop") || strings.Contains(name, "secret") {
			t.Errorf("%s is there", name)
		}
	}
	var v struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(files["version.yaml"], "apiVersion", "apiversion")), &v); err != nil || v.APIVersion != "troubleshoot.sh/v1beta2" || v.Kind != "SupportBundle" {
		t.Errorf("version.yaml: %v, %s", err, files["version.yaml"])
	}
	var pods struct {
		Kind, APIVersion string
		Items            []struct {
			Kind, APIVersion string
			Metadata         struct {
				Name          string
				ManagedFields any
			}
		}
	}
	if err := json.Unmarshal([]byte(files["cluster-resources/pods/kube-system.json"]), &pods); err != nil {
		t.Fatal(err)
	}
	if pods.Kind != "PodList" || pods.APIVersion != "v1" || len(pods.Items) != 2 || pods.Items[1].Kind != "Pod" || pods.Items[1].Metadata.Name != "c" || pods.Items[1].Metadata.ManagedFields != nil {
		t.Errorf("%+v", pods)
	}
	if err := json.Unmarshal([]byte(files["cluster-resources/events/default.json"]), &pods); err != nil || len(pods.Items) != 0 || pods.Kind != "EventsList" {
		t.Errorf("an empty list: %v, %s", err, files["cluster-resources/events/default.json"])
	}
	var version struct {
		Info   struct{ GitVersion string }
		String string
	}
	var resourceLists []struct {
		GroupVersion string
		Resources    []any
		APIVersion   *string
	}
	var groups []struct {
		Name     string
		Versions []struct{ GroupVersion string }
	}
	var nodes struct{ Nodes []string }
	for name, v := range map[string]any{
		"cluster-info/cluster_version.json": &version, "cluster-resources/resources.json": &resourceLists, "cluster-resources/groups.json": &groups,
		"host-collectors/system/node_list.json": &nodes,
	} {
		if err := json.Unmarshal([]byte(files[name]), v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if version.String != "v1.36.3" || version.Info.GitVersion != "v1.36.3" {
		t.Errorf("%+v", version)
	}
	if len(resourceLists) != 2 || resourceLists[0].GroupVersion != "v1" || resourceLists[0].APIVersion != nil || len(groups) != 2 || groups[1].Versions[0].GroupVersion != "apps/v1" {
		t.Errorf("%+v %+v", resourceLists, groups)
	}
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.3"}, nodes.Nodes); diff != "" {
		t.Error(diff)
	}
	if got := files["cluster-resources/pods/logs/kube-system/etcd-m1/etcd-previous.log"]; got != "2026-01-02T03:04:05.1Z of before\n" {
		t.Errorf("%q", got)
	}
	for _, path := range s.hosts[0].api.asked {
		if strings.Contains(path, "secrets") {
			t.Errorf("%s was asked for", path)
		}
	}
	var cpu struct{ LogicalCount int }
	if err := json.Unmarshal([]byte(files["host-collectors/system/10.0.0.3/cpu.json"]), &cpu); err != nil || cpu.LogicalCount < 1 {
		t.Errorf("%v, %s", err, files["host-collectors/system/10.0.0.3/cpu.json"])
	}
}

func TestWhatOurChecksFindIsTheAnalysis(t *testing.T) {
	s := newSim(t, 1, false)
	s.Status = func(context.Context) (status.Status, error) {
		return status.Status{
			Cluster: "default", Asked: true, Waiting: []string{"pod x is not ready"}, Warnings: []string{"application: web"},
			Problems: []preflight.Problem{{Host: "10.0.0.2", Check: "disk", Message: "it is full", Remedy: "make room"}},
		}, nil
	}
	files, _ := s.make(t)
	var got []struct {
		Name, Severity string
		Insight        struct{ Primary, Detail, Severity string }
		Labels         map[string]string
		AnalyzerSpec   *string
	}
	if err := json.Unmarshal([]byte(files["analysis.json"]), &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got {
		if f.Insight.Severity != f.Severity || f.AnalyzerSpec == nil || f.Labels == nil {
			t.Errorf("%+v", f)
		}
		lines = append(lines, f.Severity+" "+f.Name+": "+f.Insight.Detail)
	}
	for _, want := range []string{"error disk.on.10.0.0.2: it is full; remedy: make room", "error waiting: pod x is not ready", "warn warning: application: web"} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not in %q", want, lines)
		}
		if _, text, _ := strings.Cut(want, ": "); !strings.Contains(files["index.html"], text) {
			t.Errorf("%q is not in index.html", text)
		}
	}
	if !strings.Contains(files["sealinstall/status.json"], "make room") {
		t.Error(files["sealinstall/status.json"])
	}
}

func TestHostsAreJudgedAsBeforeARunWhereAnInstallerLies(t *testing.T) {
	s := newSim(t, 2, true)
	for i, m := range s.hosts {
		root, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m.stub = &agenttest.Machine{Root: root, Facts: func(agent.FactsRequest) agent.Facts {
			return agent.Facts{Arch: "amd64", Hostname: "m1", MemoryBytes: 8 << 30, CPUs: 4, CgroupVersion: 2, Swap: i == 1, ResolvesOwnName: true, TimeService: "chronyd"}
		}}
	}
	files, sum := s.make(t)
	for _, want := range []string{`"swap on 10.0.0.3"`, `"host-name on 10.0.0.2"`} {
		if !strings.Contains(files["analysis.json"], want) {
			t.Errorf("%s is not in %s", want, files["analysis.json"])
		}
	}
	if strings.Contains(files["analysis.json"], "swap on 10.0.0.2") || len(sum.Missing) != 1 || !strings.Contains(files["host-collectors/system/10.0.0.3/facts.json"], "chronyd") {
		t.Errorf("%+v\n%s", sum.Missing, files["analysis.json"])
	}
}

// The API is dead, one host is not reached, one dies in the middle, one program hangs, one host hangs and does not even end what is
// broken off. The others tell all.
func TestWhatIsDeadOrHangsHoldsUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 50, false)
		real := s.Dial
		s.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
			if s.of(target) == s.hosts[1] {
				<-ctx.Done()
				return nil, &host.Error{Host: s.hosts[1].name, Kind: host.ErrUnreachable, Err: context.Cause(ctx)}
			}
			return real(ctx, target)
		}
		gone := &host.Error{Host: s.hosts[2].name, Kind: host.ErrUnreachable, Err: errors.New("connection reset by peer")}
		s.hosts[2].before = func(_ context.Context, c host.Cmd) (bool, error) {
			if c.Title == "run programs" {
				io.WriteString(c.Stdout, "::0\n|Linux\n=0\n::1\n|whole\n|half of a li")
			}
			return c.Title == "run programs", gone
		}
		disks := slices.IndexFunc(programs, func(p struct{ name, line string }) bool { return p.name == "disks" })
		s.hosts[3].before = func(_ context.Context, c host.Cmd) (bool, error) {
			if c.Title == "run programs" {
				s.hosts[3].answer(c, 0, map[int]string{disks: "|some\n=124\n", 0: "!not allowed\n=1\n", 1: "!no such thing\n=127\n"})
			}
			return c.Title == "run programs", nil
		}
		forever := make(chan struct{})
		defer close(forever)
		s.hosts[4].before = func(_ context.Context, c host.Cmd) (bool, error) {
			if c.Title == "run programs" {
				<-forever
			}
			return false, nil
		}
		began := time.Now()
		files, sum := s.make(t)
		if took := time.Since(began); took > 2*s.Within {
			t.Errorf("it took %s", took)
		}
		by := map[string][]string{}
		for _, m := range sum.Missing {
			by[m.Host] = append(by[m.Host], m.Collector)
			if files[m.file()] == "" {
				t.Errorf("%+v is not said in the bundle", m)
			}
		}
		for _, collectors := range by {
			slices.Sort(collectors)
		}
		want := map[string][]string{
			"": {"cluster-resources"}, "10.0.0.3": {"connect"}, "10.0.0.4": {"programs"}, "10.0.0.5": {"run-host-disks", "run-host-kernel"}, "10.0.0.6": {"rest"},
		}
		// A host without files tells no time.
		for host := range by {
			by[host] = slices.DeleteFunc(by[host], func(c string) bool { return c == "clock" })
			if len(by[host]) == 0 {
				delete(by, host)
			}
		}
		if diff := cmp.Diff(want, by); diff != "" {
			t.Error(diff)
		}
		if got := files["host-collectors/run-host/10.0.0.4/os-release.txt"]; got != "whole\n[cut off: host is unreachable: connection reset by peer]\n" {
			t.Errorf("%q", got)
		}
		if got := files["host-collectors/run-host/10.0.0.5/disks.txt"]; got != "some\n" {
			t.Errorf("%q", got)
		}
		for _, name := range []string{"10.0.0.5/memory", "10.0.0.51/unit-states"} {
			if _, ok := files["host-collectors/run-host/"+name+".txt"]; !ok {
				t.Errorf("%s is not there", name)
			}
		}
		for _, m := range []string{"could not be asked", "connection reset by peer", "connection to the server was refused"} {
			if !strings.Contains(files["index.html"], m) {
				t.Errorf("index.html does not tell %q", m)
			}
		}
	})
}

func TestAClusterWithoutAnyHostThatAnswersHasABundle(t *testing.T) {
	s := newSim(t, 1, false)
	s.Dial = func(context.Context, *fleet.Target) (host.Host, error) { return nil, host.ErrUnreachable }
	s.Status = func(context.Context) (status.Status, error) {
		return status.Status{}, errors.New("no bundle behind this program")
	}
	if err := os.WriteFile(s.State.Path("Clusterfile"), []byte("kind: Cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, sum := s.make(t)
	if files["sealinstall/Clusterfile"] != "kind: Cluster\n" || len(sum.Missing) != 3 {
		t.Errorf("%+v, %q", sum, files["sealinstall/Clusterfile"])
	}
}

// The newest of what is kept here comes along.
func TestLogsAndReportsOfRunsAreInTheBundle(t *testing.T) {
	s := newSim(t, 1, false)
	for _, name := range []string{"logs/20260101T000000.000Z.log", "logs/20260102T000000.000Z.log", "reports/20260102.html", "registry-password", "pki/ca.key"} {
		if err := errors.Join(os.MkdirAll(s.State.Path(name[:strings.Index(name+"/", "/")]), 0o700), os.WriteFile(s.State.Path(name), []byte("text\n"), 0o600)); err != nil && strings.Contains(name, "/") {
			t.Fatal(err)
		}
	}
	files, _ := s.make(t)
	for _, name := range []string{"logs/20260101T000000.000Z.log", "logs/20260102T000000.000Z.log", "reports/20260102.html"} {
		if files["sealinstall/"+name] != "text\n" {
			t.Errorf("%s: %q", name, files["sealinstall/"+name])
		}
	}
	for name := range files {
		if strings.Contains(name, "password") || strings.Contains(name, "ca.key") {
			t.Errorf("%s is there", name)
		}
	}
}

func TestAKindThatTheAPIDoesNotGiveIsSaidAndTheOthersAreThere(t *testing.T) {
	s := newSim(t, 1, false)
	api := newAPI()
	delete(api.objects, "/apis/batch/v1/jobs")
	s.hosts[0].api = api
	files, sum := s.make(t)
	if !slices.ContainsFunc(sum.Missing, func(m Missing) bool { return m.Collector == "cluster-resources-jobs" }) || !strings.Contains(files["cluster-resources/jobs-errors.json"], "could not find") {
		t.Errorf("%+v, %q", sum.Missing, files["cluster-resources/jobs-errors.json"])
	}
	if _, ok := files["cluster-resources/mutating-webhook-configurations.json"]; !ok {
		t.Error("what follows is not there")
	}
}

func TestAnInterruptionLeavesNoBundle(t *testing.T) {
	s := newSim(t, 1, false)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped")
	s.hosts[0].before = func(ctx context.Context, c host.Cmd) (bool, error) {
		if c.Title == "run programs" {
			cancel(stop)
			<-ctx.Done()
			return true, context.Cause(ctx)
		}
		return false, nil
	}
	if _, err := s.Write(ctx, io.Discard, "root"); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
