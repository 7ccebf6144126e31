package settings

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

func TestValuesOfSecretsAreNotShown(t *testing.T) {
	got := shown([]kubeadm.Difference{
		{Document: kubeadm.Cluster, Field: "apiServer.extraEnvs.DB_PASSWORD", To: `{"name":"DB_PASSWORD","value":"geheim"}`},
		{Document: kubeadm.Cluster, Field: "apiServer.extraEnvs.HTTPS_PROXY", From: "http://u:geheim@proxy:3128", To: ""},
		{Document: kubeadm.Cluster, Field: "apiServer.extraArgs.tls-private-key-file", From: "/a", To: "/b"},
	})
	want := []kubeadm.Difference{
		{Document: kubeadm.Cluster, Field: "apiServer.extraEnvs.DB_PASSWORD", To: "(not shown)"},
		{Document: kubeadm.Cluster, Field: "apiServer.extraEnvs.HTTPS_PROXY", From: "(not shown)"},
		{Document: kubeadm.Cluster, Field: "apiServer.extraArgs.tls-private-key-file", From: "/a", To: "/b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
