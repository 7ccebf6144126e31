package steps

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// The tests below hold the simulated cluster against what real ones do: an installer that was tried on a milder one would
// fail at a site.

// realistic is a cluster in which everything takes as long as on real hosts, by a clock that is not real.
func realistic(t *testing.T, masters, nodes int, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), masters, nodes)
		w.Pace, w.timeout, w.jobs = stepstest.RealPace(), 10*time.Minute, 1
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		do(t, w)
	})
}

// kubectl asks the cluster on a master.
func (w *world) kubectl(t testing.TB, master int, args ...string) (string, error) {
	t.Helper()
	return w.Machines()[master].Command(t.Context(), "", append([]string{"kubectl", "--server=https://" + w.Machines()[master].IP + ":6443"}, args...)...)
}

func (w *world) mustKubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := w.kubectl(t, 0, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// after waits until the pods of a workload run where they should, and tells how long that took.
func (w *world) after(t testing.TB, namespace, name string, want map[string]string) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		got := w.Pods(namespace, name)
		diff := cmp.Diff(want, got)
		if diff == "" {
			return time.Since(start)
		}
		if time.Since(start) > 20*time.Minute {
			t.Fatalf("%s runs elsewhere (-want +got):\n%s", name, diff)
		}
		time.Sleep(time.Second)
	}
}

func TestSimulatedPodsOfADeadNodeStayUntilTheyAreForced(t *testing.T) {
	realistic(t, 3, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Volume: true})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, Apart: true})
		w.after(t, "shop", "db", map[string]string{"db-0": "host-4"})
		w.Machines()[3].PowerOff()
		if out := w.mustKubectl(t, "get", "node", "host-4", "-o", "go-template={{range .status.conditions}}{{.type}}={{.status}} {{end}}"); !strings.Contains(out, "Ready=True") {
			t.Errorf("a Node is not Ready the moment its host is dead: %s", out)
		}
		time.Sleep(time.Minute)
		if out := w.mustKubectl(t, "get", "node", "host-4", "-o", "json"); !strings.Contains(out, `"status":"Unknown"`) {
			t.Errorf("after a minute: %s", out)
		}
		// It is replaced nowhere, not even when its pod is deleted: nobody knows whether it still runs.
		time.Sleep(10 * time.Minute)
		pods := w.mustKubectl(t, "get", "pods", "-n", "shop", "-o", "go-template={{range .items}}{{.metadata.name}} {{if .metadata.deletionTimestamp}}going{{end}}\n{{end}}")
		if !strings.Contains(pods, "db-0 going") || len(w.Pods("shop", "db")) > 0 {
			t.Errorf("pods:\n%s%v", pods, w.Pods("shop", "db"))
		}
		w.mustKubectl(t, "taint", "node", "host-4", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
		if took := w.after(t, "shop", "db", map[string]string{"db-0": "host-5"}); took > 10*time.Second {
			t.Errorf("it took %s until the volume was elsewhere", took)
		}
		if bad := w.Violations(); len(bad) > 0 {
			t.Error(bad)
		}
	})
}

func TestSimulatedVolumesOfAForcedPodStayAttachedForMinutes(t *testing.T) {
	realistic(t, 1, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Volume: true})
		w.after(t, "shop", "db", map[string]string{"db-0": "host-2"})
		w.Machines()[1].PowerOff()
		time.Sleep(time.Minute)
		w.mustKubectl(t, "delete", "pod", "db-0", "-n", "shop", "--force", "--grace-period=0")
		if took := w.after(t, "shop", "db", map[string]string{"db-0": "host-3"}); took < 4*time.Minute {
			t.Errorf("it took only %s", took)
		}
	})
}

func TestSimulatedPodThatIsForcedWhileItRunsIsNoted(t *testing.T) {
	realistic(t, 1, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1})
		w.after(t, "shop", "db", map[string]string{"db-0": "host-2"})
		w.Machines()[1].StopKubelet() // its containers go on
		time.Sleep(time.Minute)
		w.mustKubectl(t, "delete", "pod", "db-0", "-n", "shop", "--force", "--grace-period=0")
		w.after(t, "shop", "db", map[string]string{"db-0": "host-3"})
		if bad := w.Violations(); len(bad) != 1 || !strings.Contains(bad[0], "still runs on 10.77.0.2") {
			t.Errorf("violations %q", bad)
		}
	})
}

func TestSimulatedDrainKeepsToBudgetsAndNamesWhatIsInItsWay(t *testing.T) {
	realistic(t, 1, 2, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 2})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "agent", Kind: "DaemonSet"})
		time.Sleep(time.Minute)
		if n := len(w.Pods("shop", "web")) + len(w.Pods("shop", "agent")); n != 4 {
			t.Fatalf("%d pods are Ready", n)
		}
		_, err := w.kubectl(t, 0, "drain", "host-2", "--ignore-daemonsets", "--timeout=30s")
		for _, want := range []string{"global timeout reached: 30s", "web-7d9f-", "disruption budget", `unable to drain node "host-2"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
		if out := w.mustKubectl(t, "get", "node", "host-2", "-o", "json"); !strings.Contains(out, `"unschedulable":true`) {
			t.Errorf("it is not cordoned: %s", out)
		}
		eviction := func(pod string) error {
			_, err := w.Machines()[0].Command(t.Context(), fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"shop"}}`, pod),
				"kubectl", "create", "--raw", "/api/v1/namespaces/shop/pods/"+pod+"/eviction", "-f", "-")
			return err
		}
		for pod := range w.Pods("shop", "web") {
			if err := eviction(pod); err == nil || !strings.Contains(err.Error(), "TooManyRequests") {
				t.Errorf("an eviction against the budget = %v", err)
			}
		}
		w.Deploy(stepstest.App{Namespace: "shop", Name: "once", Kind: "Pod", EmptyDir: true})
		w.mustKubectl(t, "uncordon", "host-2")
		w.mustKubectl(t, "cordon", "host-3")
		w.Deploy(stepstest.App{Namespace: "shop", Name: "twice", Kind: "Pod"})
		w.after(t, "shop", "twice", map[string]string{"twice": "host-2"})
		_, err = w.kubectl(t, 0, "drain", "host-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=30s")
		if err == nil || !strings.Contains(err.Error(), "declare no controller") || !strings.Contains(err.Error(), "shop/twice") {
			t.Errorf("a drain over a bare pod = %v", err)
		}
	})
}

func TestSimulatedDrainMovesWhatItMay(t *testing.T) {
	realistic(t, 1, 3, func(t *testing.T, w *world) {
		w.Deploy(stepstest.App{Namespace: "shop", Name: "web", Kind: "Deployment", Replicas: 2, MinAvailable: 1, EmptyDir: true})
		w.Deploy(stepstest.App{Namespace: "shop", Name: "db", Kind: "StatefulSet", Replicas: 1, Volume: true})
		time.Sleep(time.Minute)
		w.mustKubectl(t, "drain", "host-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
		time.Sleep(time.Minute)
		where := w.Pods("shop", "web")
		for _, node := range where {
			if node == "host-2" {
				t.Errorf("it still runs there: %v", where)
			}
		}
		if len(where) != 2 || len(w.Pods("shop", "db")) != 1 {
			t.Errorf("pods: %v %v", where, w.Pods("shop", "db"))
		}
		_, err := w.kubectl(t, 0, "drain", "host-2", "--timeout=5m")
		if err == nil || !strings.Contains(err.Error(), "--ignore-daemonsets") {
			t.Errorf("a drain without the flag for kube-proxy = %v", err)
		}
	})
}

func TestSimulatedNodesComeBackOnlyWithTheirKubelet(t *testing.T) {
	realistic(t, 3, 1, func(t *testing.T, w *world) {
		worker, master := w.Machines()[3], w.Machines()[2]
		there := func(name string) bool {
			return w.mustKubectl(t, "get", "node", name, "--ignore-not-found", "-o", "name") != ""
		}
		w.mustKubectl(t, "delete", "node", "host-4")
		time.Sleep(10 * time.Minute)
		if there("host-4") {
			t.Error("a kubelet that goes on running has made its Node anew")
		}
		worker.PowerOff()
		master.PowerOff()
		if _, err := w.Machines()[0].Command(t.Context(), "", "/var/lib/sealos/bin/sealinstall", "etcd", "remove", "--peer", master.IP); err != nil {
			t.Fatal(err)
		}
		w.mustKubectl(t, "delete", "node", "host-3")
		worker.PowerOn()
		master.PowerOn()
		time.Sleep(5 * time.Minute)
		if !there("host-4") {
			t.Error("a worker with its old disk has not registered")
		}
		if there("host-3") {
			t.Error("a master without etcd has registered")
		}
		out, err := master.Command(t.Context(), "", "crictl", "ps", "--all", "--name", "^etcd$", "--output", "json")
		if err != nil || !strings.Contains(out, "EXITED") {
			t.Errorf("its etcd: %s %v", out, err)
		}
		out, err = master.Command(t.Context(), "", "crictl", "logs", "etcd")
		if err != nil || !strings.Contains(out, "permanently removed from the cluster") {
			t.Errorf("its etcd says %s %v", out, err)
		}
	})
}

func TestSimulatedBootsComeUpInTheirOrder(t *testing.T) {
	realistic(t, 3, 0, func(t *testing.T, w *world) {
		m := w.Machines()[2]
		m.PowerOff()
		m.PowerOn()
		var order []string
		for range 60 {
			stage := "nothing"
			if _, err := m.Command(t.Context(), "", "true"); err == nil || !strings.Contains(err.Error(), "no answer") {
				stage = "sshd"
			}
			if _, err := m.Command(t.Context(), "", "crictl", "ps", "--quiet"); err == nil {
				stage = "containerd"
			}
			if _, err := m.Command(t.Context(), "", "/var/lib/sealos/bin/sealinstall", "etcd", "members"); err == nil {
				stage = "etcd"
			}
			if _, err := w.kubectl(t, 2, "get", "nodes", "-o", "name"); err == nil {
				stage = "API"
			}
			if len(order) == 0 || order[len(order)-1] != stage {
				order = append(order, stage)
			}
			time.Sleep(time.Second)
		}
		if diff := cmp.Diff([]string{"nothing", "sshd", "containerd", "etcd", "API"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestSimulatedEtcdKeepsItsMajority(t *testing.T) {
	realistic(t, 3, 0, func(t *testing.T, w *world) {
		m := w.Machines()
		remove := func(at, whom int) string {
			_, err := m[at].Command(t.Context(), "", "/var/lib/sealos/bin/sealinstall", "etcd", "remove", "--peer", m[whom].IP)
			if err != nil {
				return err.Error()
			}
			return ""
		}
		m[2].PowerOff()
		if got := remove(0, 1); !strings.Contains(got, "unhealthy cluster") {
			t.Errorf("one of two that run, of three, is taken out: %q", got)
		}
		m[2].PowerOn()
		time.Sleep(45 * time.Second)
		if got := remove(0, 1); !strings.Contains(got, "unhealthy cluster") {
			t.Errorf("a member is taken out while another one has come back a moment ago: %q", got)
		}
		m[1].PowerOff()
		m[2].PowerOff()
		if got := remove(0, 1); !strings.Contains(got, "timed out") {
			t.Errorf("a member is taken out without a majority: %q", got)
		}
		if _, err := w.kubectl(t, 0, "get", "nodes", "-o", "name"); err == nil {
			t.Error("the API answers without a majority of etcd")
		}
		m[1].PowerOn()
		time.Sleep(time.Minute)
		w.noticed(t)
		if got := remove(1, 2); got != "" {
			t.Errorf("a dead member is not taken out: %s", got)
		}
		if got := remove(1, 0); got != "" {
			t.Errorf("one of two is not taken out: %s", got)
		}
		w.noticed(t) // the leader may have been the other one
		if got := remove(1, 1); !strings.Contains(got, "not enough started members") {
			t.Errorf("the last member is taken out: %q", got)
		}
	})
}

func TestSimulatedResetWipesWhatIsInItsWay(t *testing.T) {
	realistic(t, 3, 1, func(t *testing.T, w *world) {
		m := w.Machines()[3]
		for name, text := range map[string]string{
			"/var/lib/etcd/snapshot.db": "an operator's", "/var/lib/kubelet/disk/file": "on a disk", "/etc/kubernetes/manifests/own.yaml": "a pod", "/etc/kubernetes/pki/own.crt": "of the site",
		} {
			if err := m.Write(name, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Write("/proc/self/mounts", m.Text("/proc/self/mounts")+"/dev/sdb /var/lib/kubelet/disk ext4 rw 0 0\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Command(t.Context(), "", "kubeadm", "reset"); err == nil || !m.Has("/etc/kubernetes/manifests/own.yaml") {
			t.Errorf("it does not ask: %v", err)
		}
		if _, err := m.Command(t.Context(), "", "kubeadm", "reset", "--force"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/var/lib/etcd/snapshot.db", "/var/lib/kubelet/disk", "/etc/kubernetes/manifests/own.yaml", "/etc/kubernetes/pki/own.crt"} {
			if m.Has(name) {
				t.Errorf("%s is there", name)
			}
		}
		if strings.Contains(m.Text("/proc/self/mounts"), "sdb") || m.Text("/unmounted/var/lib/kubelet/disk/file") != "on a disk" {
			t.Error("the disk is not unmounted, or was emptied")
		}
		// A master whose API is down keeps its member, and loses its data.
		first := w.Machines()[0]
		w.Silence(time.Hour)
		if _, err := first.Command(t.Context(), "", "kubeadm", "reset", "--force"); err != nil {
			t.Fatal(err)
		}
		members, err := w.Machines()[1].Command(t.Context(), "", "/var/lib/sealos/bin/sealinstall", "etcd", "members")
		if err != nil || !strings.Contains(members, first.IP) || first.Has("/var/lib/etcd/member") {
			t.Errorf("members %s, %v; data there: %t", members, err, first.Has("/var/lib/etcd/member"))
		}
	})
}
