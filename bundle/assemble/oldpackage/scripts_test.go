package oldpackage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyWhatOthersDoNowIsTakenOutOfScripts(t *testing.T) {
	for text, want := range map[string]string{
		"docker load -i a.tar\n":                                "true docker load -i a.tar\n",
		"X=1 sudo -E nerdctl load <a.tar && echo ok\n":          "X=1 true sudo -E nerdctl load  && echo ok\n",
		"for i in ../images/*; do ctr i import $i; done\n":      "for i in ../images/*; do true ctr i import $i; done\n",
		"if true; then kubeadm init; fi; bash -x ./master.sh\n": "if true; then true kubeadm init; fi; true bash -x ./master.sh\n",
		"zcat a | docker load; x=$(docker load -q <a)\n":        "zcat a | true docker load; x=$(true docker load -q )\n",
		"env A=b docker load < a > log 2>&1 || exit 1\n":        "true env A=b docker load  > log 2>&1 || exit 1\n",
		"docker load <$(kubeadm init); docker load\n":           "true docker load ; true docker load\n",
		"cat >x <<E\ndocker load -i y\nE\n":                     "",
		"kubeadm config images list; ctr version\n":             "",
		"echo docker load\n":                                    "",
		"if\n":                                                  "",
	} {
		files := aPackage(t)
		files["shell/init.sh"] = text
		_, documents := copies(parsed(t, mustMake(t, lay(t, files))))
		if diff := cmp.Diff(want, documents["/shell/init.sh"]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestAScriptTooLargeToBeReadRunsAsItIs(t *testing.T) {
	files := aPackage(t)
	files["shell/init.sh"] = "docker load\n" + strings.Repeat("#\n", maxText/2)
	m := mustMake(t, lay(t, files))
	if _, documents := copies(parsed(t, m)); documents["/shell/init.sh"] != "" {
		t.Error("a part of it takes its place")
	}
	if !strings.Contains(strings.Join(m.Notes, "\n"), "shell/init.sh is larger than 128 KiB, and not looked at") {
		t.Errorf("told: %q", m.Notes)
	}
}

func TestKubeadmsConfigurationIsTakenAsFarAsItCounts(t *testing.T) {
	files := aPackage(t)
	files["conf/kubeadm.yaml"] = `apiVersion: kubeadm.k8s.io/v1beta1
kind: ClusterConfiguration
kubernetesVersion: v1.30.1
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration: {criSocket: /var/run/dockershim.sock, taints: []}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
`
	files["conf/kubeadm.yaml.tmpl"] = "{{ .Masters }}"
	m := mustMake(t, lay(t, files))
	k := parsed(t, m)
	_, documents := copies(k)
	if diff := cmp.Diff(`apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration:
  taints: []
---
apiVersion: kubelet.config.k8s.io/v1beta1
cgroupDriver: cgroupfs
kind: KubeletConfiguration
`, documents["/etc/kubeadm.yml"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// containerd has to have the driver that kubelet is told.
	if k.Env()["cgroupDriver"] != "cgroupfs" {
		t.Errorf("cgroupDriver: %s", k.Env()["cgroupDriver"])
	}
	for _, want := range []string{"ClusterConfiguration of kubeadm.k8s.io/v1beta1 has no meaning", "criSocket /var/run/dockershim.sock has no meaning", "kubeadm.yaml.tmpl has no meaning"} {
		if !strings.Contains(strings.Join(m.Notes, "\n"), want) {
			t.Errorf("not told: %s", want)
		}
	}
}
