package installer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 200
---
# a comment alone is no document
---
apiVersion: apps.sealos.io/v1beta1
kind: Cluster
metadata:
  name: site
spec:
  image: [kubernetes:v1.36.3]
  ssh: {user: admin, passwd: hunter2-secret, port: 2200}
  hosts:
  - ips: [10.0.0.5, "10.0.0.6:22"]
    roles: [node, amd64]
    env: [A=node]
  - ips: [10.0.0.2]
    roles: [master]
    ssh: {user: root}
  env: [A=b, registryPassword=swordfish1]
---
apiVersion: apps.sealos.io/v1beta1
kind: Config
metadata: {name: c}
spec: {path: etc/x.yml, strategy: merge, data: "a: 1"}
`

func TestClusterfileDocumentsComeInAnyOrder(t *testing.T) {
	c, err := ParseClusterfile("Clusterfile", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	type host struct {
		IP, User, A string
		Port        int
		Master      bool
	}
	var got []host
	for _, h := range c.Hosts {
		got = append(got, host{h.IP.String(), h.SSH.User, h.Env["A"], h.SSH.Port, h.Master})
	}
	want := []host{{"10.0.0.2", "root", "", 2200, true}, {"10.0.0.5", "admin", "node", 2200, false}, {"10.0.0.6", "admin", "node", 22, false}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(c.Kubeadm) != 1 || len(c.Configs) != 1 || c.Name != "site" {
		t.Errorf("got %d kubeadm documents, %d Configs, name %q", len(c.Kubeadm), len(c.Configs), c.Name)
	}
}

func TestClusterfileErrorsNameTheLine(t *testing.T) {
	for _, tc := range []struct{ doc, want string }{
		{strings.Replace(sample, "roles: [master]", "rolez: [master]", 1), `Clusterfile:19:5: unknown field "rolez" in spec.hosts[1]: did you mean "roles"?`},
		{strings.Replace(sample, "kind: Config\n", "kind: Konfig\n", 1), "Konfig"},
		{strings.Replace(sample, "strategy: merge", "strategy: blend", 1), "blend"},
		{strings.Replace(sample, "A=b", "SEALOS_SYS_X=b", 1), "SEALOS_SYS"},
		{sample + "---\napiVersion: v1\nkind: Pod\n", `"Pod"`},
		{strings.Replace(sample, "roles: [master]", "roles: [mastre]", 1), `Clusterfile:18:5: spec.hosts[1]: roles [mastre]: expected master or node: did you mean "master"?`},
		{strings.Replace(sample, "port: 2200", "port: many", 1), `Clusterfile:13:52: spec.ssh.port is "many": expected a number`},
		{strings.Replace(sample, "[A=b, ", "[A, ", 1), `Clusterfile:21:9: spec.env: env "A": expected KEY=VALUE`},
		{strings.Replace(sample, "ips: [10.0.0.2]", "ips: 10.0.0.2", 1), "Clusterfile:18:10: spec.hosts[1].ips is a single value: expected a list"},
		{strings.Replace(sample, "kind: Config\n", "kind: Konfig\n", 1), `did you mean "Config"?`},
		{strings.Replace(sample, "env: [A=node]", "roles: [node]", 1), "is given twice"},
		{"- a\n", "Clusterfile:1:1: a document that is no map"},
		{"a: 1\n---\na: [", "Clusterfile:3: "},
	} {
		_, err := ParseClusterfile("Clusterfile", []byte(tc.doc))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v, want one with %q", err, tc.want)
		}
	}
}

func TestWrittenClusterfileHoldsNoSecretsAndReadsBack(t *testing.T) {
	c, err := ParseClusterfile("Clusterfile", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	out, err := c.Clusterfile(time.Unix(0, 0), Status{Phase: PhaseSuccess})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2-secret", "swordfish1"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("the file holds %q:\n%s", secret, out)
		}
	}
	again, err := ParseClusterfile("written", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := again.Complete(); err != nil {
		t.Fatal(err)
	}
	var a, b []string
	for i := range c.Hosts {
		a = append(a, c.Hosts[i].IP.String()+c.Hosts[i].SSH.User)
		b = append(b, again.Hosts[i].IP.String()+again.Hosts[i].SSH.User)
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

func TestClusterProblemsAreReportedTogether(t *testing.T) {
	c := &Cluster{Name: "Not A Label", Hosts: []Host{{}, {}}}
	err := c.Complete()
	for _, want := range []string{"cluster name", "without an address", "no master"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestEvenNumberOfMastersOnlyWarns(t *testing.T) {
	addrs, err := ParseAddresses("10.0.0.1,10.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{}
	for _, a := range addrs {
		c.Hosts = append(c.Hosts, Host{IP: a.IP, Master: true})
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings()) != 1 {
		t.Errorf("warnings: %v", c.Warnings())
	}
}

func FuzzParseClusterfile(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseClusterfile("fuzz", data)
		if err == nil && c == nil {
			t.Fatal("neither a cluster nor an error")
		}
	})
}
