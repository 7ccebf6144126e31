package site

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

func TestTheManifestTellsWhereEtcdsDataAre(t *testing.T) {
	const real = `apiVersion: v1
kind: Pod
spec:
  containers:
  - command: [etcd, --data-dir=/data/etcd]
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki/etcd
      type: DirectoryOrCreate
    name: etcd-certs
  - hostPath:
      path: /data/etcd/
      type: DirectoryOrCreate
    name: etcd-data
`
	for text, want := range map[string]string{
		real: "/data/etcd", "": "", "not yaml: [": "",
		"spec: {volumes: [{name: etcd-data, hostPath: {path: relative}}]}": "",
		"spec: {volumes: [{name: etcd-certs, hostPath: {path: /x}}]}":      "",
	} {
		if got := ManifestDataDir([]byte(text)); got != want {
			t.Errorf("%q, want %q, of:\n%s", got, want, text)
		}
	}
}

func TestEtcdsDataAreOursByMarkOrManifestOnly(t *testing.T) {
	for name, c := range map[string]struct {
		marks    map[string]string
		manifest string
		want     DataDir
		ours     bool
	}{
		"neither":                        {map[string]string{journal.Begun: "x", journal.KubeadmBegun: "x"}, "", DataDir{}, false},
		"somebody else's manifest":       {map[string]string{journal.Begun: "x"}, "/var/lib/etcd", DataDir{}, false},
		"a cluster from before the mark": {map[string]string{journal.KubeadmDone: "x"}, "/var/lib/etcd", DataDir{Path: "/var/lib/etcd", Made: "/var/lib/etcd"}, true},
		"made":                           {map[string]string{journal.EtcdData: DataDir{Path: "/data/etcd", Made: "/data"}.String()}, "", DataDir{Path: "/data/etcd", Made: "/data"}, true},
		"found":                          {map[string]string{journal.EtcdData: "/var/lib/etcd"}, "", DataDir{Path: "/var/lib/etcd"}, true},
		"no path":                        {map[string]string{journal.EtcdData: "x"}, "", DataDir{}, false},
	} {
		target := &fleet.Target{EtcdManifest: c.manifest}
		for mark, text := range c.marks {
			target.Journal.Note(mark, text)
		}
		got, ours := EtcdData(target)
		if diff := cmp.Diff(c.want, got); diff != "" || ours != c.ours {
			t.Errorf("%s: ours %v, (-want +got):\n%s", name, ours, diff)
		}
	}
}
