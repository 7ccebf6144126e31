package kubeadm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// phases has the real kubeadm render the files of a cluster's documents, as the installer does to compare settings.
func phases(t *testing.T, kubeadm string, docs string) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeadm.yaml")
	if err := os.WriteFile(file, []byte(docs), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, phase := range [][]string{{"control-plane", "all"}, {"kubelet-start"}} {
		cmd := exec.CommandContext(t.Context(), kubeadm, append(append([]string{"init", "phase"}, phase...), "--dry-run", "--config", file)...)
		cmd.Env = append(os.Environ(), "KUBEADM_INIT_DRYRUN_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kubeadm init phase %v: %v\n%s", phase, err, out)
		}
	}
	out := map[string][]byte{}
	for _, name := range append(Components(), "config", "kubeadm-flags") {
		found, err := filepath.Glob(filepath.Join(dir, name+".*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", name, found, err)
		}
		if out[name], err = os.ReadFile(found[0]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestRealKubeadmRendersWhatIsCompared(t *testing.T) {
	kubeadm := realKubeadm(t)
	version, err := exec.CommandContext(t.Context(), kubeadm, "version", "-o", "short").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`kubernetesVersion: .*`)
	at := func(in Input) string {
		return own.ReplaceAllString(render(t, in), "kubernetesVersion: "+strings.TrimSpace(string(version)))
	}
	in := example(Init)
	now := phases(t, kubeadm, at(in))
	in.UserDocs = [][]byte{[]byte(`apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  extraArgs: [{name: audit-log-maxage, value: "30"}, {name: max-requests-inflight, value: "800"}]
  extraVolumes: [{name: site, hostPath: /site, mountPath: /site}]
scheduler:
  extraEnvs: [{name: TZ, value: UTC}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  kubeletExtraArgs: [{name: v, value: "4"}]
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 200
evictionHard: {imagefs.available: null}
`)}
	wanted := phases(t, kubeadm, at(in))
	var got []string
	for _, c := range Components() {
		if same, err := ComparePod(c, now[c], now[c]); err != nil || len(same) > 0 {
			t.Errorf("%s: %v, %v", c, same, err)
		}
		diffs, err := ComparePod(c, now[c], wanted[c])
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range diffs {
			got = append(got, d.String())
		}
		if held, err := Holds(wanted[c], wanted[c]); err != nil || !held {
			t.Errorf("%s does not hold itself: %v", c, err)
		}
		if held, _ := Holds(now[c], wanted[c]); held != (c == "kube-controller-manager") {
			t.Errorf("%s of before holds what is new: %v", c, held)
		}
	}
	kubelet, err := CompareConfig(Kubelet, now["config"], wanted["config"])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range kubelet {
		got = append(got, d.String())
	}
	docs, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	flags, diffs, err := CompareArguments(now["kubeadm-flags"], docs.KubeletArguments())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		got = append(got, d.String())
	}
	if diff := cmp.Diff(string(wanted["kubeadm-flags"]), string(flags)); diff != "" {
		t.Errorf("the arguments are not as kubeadm writes them: %s", diff)
	}
	want := []string{
		"ClusterConfiguration apiServer.extraArgs.audit-log-maxage: 7 -> 30",
		"ClusterConfiguration apiServer.extraArgs.max-requests-inflight: not set -> 800",
		`ClusterConfiguration apiServer.extraVolumes.mounted.site: not set -> {"mountPath":"/site","name":"site"}`,
		`ClusterConfiguration apiServer.extraVolumes.site: not set -> {"hostPath":{"path":"/site","type":""},"name":"site"}`,
		`ClusterConfiguration scheduler.extraEnvs.TZ: not set -> {"name":"TZ","value":"UTC"}`,
		"KubeletConfiguration evictionHard.imagefs.available: 10% -> not set",
		"KubeletConfiguration maxPods: 110 -> 200",
		"JoinConfiguration nodeRegistration.kubeletExtraArgs.v: not set -> 4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheClusterConfigurationOfRealKubeadmSaysWhatItsDocumentsSay(t *testing.T) {
	kubeadm := realKubeadm(t)
	version, err := exec.CommandContext(t.Context(), kubeadm, "version", "-o", "short").Output()
	if err != nil {
		t.Fatal(err)
	}
	bare := example(Init)
	bare.Name = ""
	bed := example(Init)
	bed.UserDocs = [][]byte{[]byte(testbedDocs)}
	for name, in := range map[string]Input{"no name": bare, "testbed": bed, "plain": example(Init)} {
		in.KubernetesVersion = strings.TrimSpace(string(version))
		dir := t.TempDir()
		file, stored := filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml")
		if err := os.WriteFile(file, []byte(render(t, in)), 0o600); err != nil {
			t.Fatal(err)
		}
		// It fills in what the documents leave out, as in the ConfigMap.
		if out, err := exec.CommandContext(t.Context(), kubeadm, "config", "migrate", "--old-config", file, "--new-config", stored).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(stored)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := Render(in)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "---\n") {
			if !strings.Contains(doc, "kind: ClusterConfiguration") {
				continue
			}
			if _, changed, fixed, err := docs.Following([]byte(doc)); err != nil || len(changed)+len(fixed) > 0 {
				t.Errorf("%s: changed %v, fixed %v, %v", name, changed, fixed, err)
			}
		}
	}
}

func TestWhatIsDecidedWhenAClusterIsMadeStaysAsItIsStored(t *testing.T) {
	before := example(Init)
	docs, err := Render(before)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := docs.Text(Cluster)
	if err != nil {
		t.Fatal(err)
	}
	after := example(Init)
	after.Masters = append(after.Masters, "192.168.0.5")
	after.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.200.0.0/16}\n" +
		"etcd: {local: {extraArgs: [{name: heartbeat-interval, value: \"100\"}]}}\nscheduler: {extraArgs: [{name: v, value: \"4\"}]}\n")}
	if docs, err = Render(after); err != nil {
		t.Fatal(err)
	}
	kept, changed, fixed, err := docs.Following(stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Difference{{Cluster, "scheduler.extraArgs.v", "", "4"}}, changed); diff != "" {
		t.Error(diff)
	}
	want := []Difference{
		{Cluster, "etcd.local.extraArgs.heartbeat-interval", "250", "100"},
		{Cluster, "networking.podSubnet", "100.64.0.0/10", "10.200.0.0/16"},
	}
	if diff := cmp.Diff(want, fixed); diff != "" {
		t.Error(diff)
	}
	text, err := kept.Text(Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"podSubnet: 100.64.0.0/10", `value: "250"`, "192.168.0.5"} {
		if !strings.Contains(string(text), says) {
			t.Errorf("%q is lost: %s", says, text)
		}
	}
	own, err := Own(after.UserDocs...)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(fixed, changed...) {
		if !own(d) {
			t.Errorf("%s is the operator's", d)
		}
	}
	if own(Difference{Document: Cluster, Field: "apiServer.extraArgs.v"}) || own(Difference{Document: Kubelet, Field: "scheduler.extraArgs.v"}) {
		t.Error("what no document says is the operator's")
	}
}

func TestWhatADocumentMeansIsNotItsForm(t *testing.T) {
	const text = "kind: ClusterConfiguration\napiServer:\n  certSANs: [a]\n  extraArgs: []\n"
	for _, same := range []string{
		"# a comment\napiServer: {extraArgs: [], certSANs: [a]}\nkind: ClusterConfiguration\n",
		"kind: ClusterConfiguration\napiServer:\n  certSANs: [a, b]\n  extraArgs: []\n", // masters come and go
	} {
		if Meaning([]byte(text)) != Meaning([]byte(same)) {
			t.Errorf("another meaning: %s", same)
		}
	}
	for _, other := range []string{"", "kind: ClusterConfiguration\n", text + "scheduler: {a: b}\n", "\tno YAML"} {
		if Meaning([]byte(text)) == Meaning([]byte(other)) {
			t.Errorf("the same meaning: %s", other)
		}
	}
}

func TestArgumentsOfKubeletKeepWhatKubeadmSet(t *testing.T) {
	const now = `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/c.sock --node-ip=10.0.0.1 --v=2 --old=1"` + "\n"
	text, changed, err := CompareArguments([]byte(now), []Argument{{"node-ip", "10.0.0.1"}, {"v", "4"}})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "nodeRegistration.kubeletExtraArgs."
	if diff := cmp.Diff([]Difference{{kindJoin, prefix + "old", "1", ""}, {kindJoin, prefix + "v", "2", "4"}}, changed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/c.sock --node-ip=10.0.0.1 --v=4"`+"\n", string(text)); diff != "" {
		t.Error(diff)
	}
	if same, changed, err := CompareArguments(text, []Argument{{"node-ip", "10.0.0.1"}, {"v", "4"}}); err != nil || len(changed) > 0 || !bytes.Equal(same, text) {
		t.Errorf("%s, %v, %v", same, changed, err)
	}
	if _, _, err := CompareArguments([]byte("nonsense"), nil); err == nil {
		t.Error("nonsense is taken for arguments")
	}
}
