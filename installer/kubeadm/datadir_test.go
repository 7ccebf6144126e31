package kubeadm

import (
	"strings"
	"testing"
)

func TestTheDirectoryOfEtcdIsTheLatersDocuments(t *testing.T) {
	doc := func(dir string) []byte {
		return []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd:\n  local:\n    dataDir: " + dir + "\n")
	}
	for want, docs := range map[string][][]byte{
		"":       {nil, []byte("no yaml: ["), []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n")},
		"/image": {doc("/image")},
		"/user":  {doc("/image"), doc("/user"), []byte("broken: [")},
	} {
		if got := EtcdDataDir(docs...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestADirectoryForEtcdGivesWayToADocument(t *testing.T) {
	in := example(Init)
	in.EtcdDataDir, in.IgnorePreflight = "/var/lib/etcd/data", []string{"DirAvailable--var-lib-etcd"}
	for want, user := range map[string][][]byte{
		"/var/lib/etcd/data": nil,
		"/data/etcd":         {[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd:\n  local:\n    dataDir: /data/etcd\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration:\n  ignorePreflightErrors: [Swap]\n")},
	} {
		in.UserDocs = user
		docs, err := Render(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := docs.Settings().EtcdDataDir; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		text, err := docs.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "DirAvailable--var-lib-etcd") || user != nil && !strings.Contains(string(text), "- Swap") {
			t.Errorf("ignored checks are lost:\n%s", text)
		}
	}
}
