package steps

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/plan"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestAddressesAreJudgedByWhatTheImagesBringBeforeAHostIsContacted(t *testing.T) {
	for name, c := range map[string]struct {
		host string
		env  []string // of the image
		own  string   // registryPort of the operator
		docs string   // etc/kubeadm.yml of the image
		says string
	}{
		"nothing wrong":           {host: "10.0.0.1"},
		"the default virtual one": {host: "10.103.97.2", says: "host 10.103.97.2 has the virtual address"},
		"the image's virtual one": {host: "10.0.0.9", env: []string{"defaultVIP=10.0.0.9"}, says: "host 10.0.0.9 has the virtual address"},
		"a Service by default":    {host: "10.96.0.10", says: "host 10.96.0.10 lies in serviceSubnet 10.96.0.0/22"},
		"a pod by default":        {host: "100.64.0.1", says: "host 100.64.0.1 lies in podSubnet 100.64.0.0/10"},
		"a Service of the image":  {host: "10.55.0.1", docs: "serviceSubnet: 10.55.0.0/16", says: "host 10.55.0.1 lies in serviceSubnet 10.55.0.0/16"},
		"IPv6 of the image":       {host: "10.0.0.1", docs: "serviceSubnet: fd01::/108", says: "instead of serviceSubnet fd01::/108"},
		"IPv6 virtual address":    {host: "10.0.0.1", env: []string{"defaultVIP=fd00::9"}, says: "instead of defaultVIP fd00::9"},
		"no port":                 {host: "10.0.0.1", own: "nonsense", says: `registryPort "nonsense" is not a port`},
		"port 0":                  {host: "10.0.0.1", own: "0", says: "is not a port"},
	} {
		t.Run(name, func(t *testing.T) {
			i := clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3"}, "x")
			i.Config.Env = c.env
			if c.docs != "" {
				i.Files["etc/kubeadm.yml"] = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  " + c.docs + "\n"
			}
			r := newRun(t, makeBundle(t, []stepstest.Image{i}), t.Output(), hostAt(c.host, 1, true))
			if c.own != "" {
				r.Cluster.Env = map[string]string{"registryPort": c.own}
			}
			// Every pipeline begins with its images. No server listens at the address of the host.
			for _, pipeline := range [][]Step{Install(), Reset()} {
				_, err := installer.RunSteps(t.Context(), pipeline[:1], r, r.Report)
				var refused *installer.NetworkError
				if is := errors.As(err, &refused); is != (c.says != "") || is && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v; want %q", pipeline[0].Name, err, c.says)
				}
				if c.says == "" {
					return
				}
			}
			if _, err := plan.Of(t.Context(), r.Site, r.Ledger.RecordedVersion); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("plan: %v", err)
			}
		})
	}
}
