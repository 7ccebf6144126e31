package steps

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// withProxyMode is the simulated bundle with a mode of kube-proxy.
func withProxyMode(t *testing.T, mode string) []byte {
	t.Helper()
	images := simImages()
	images[0].Files["etc/kubeadm.yml"] = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: " + mode + "\n"
	var buf strings.Builder
	if err := stepstest.Write(&buf, []byte("the stub\n"), images); err != nil {
		t.Fatal(err)
	}
	return []byte(buf.String())
}

func TestHostsWithoutARouteToServicesGetOne(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memoryDir(t), withProxyMode(t, mode), 2, 1)
				before := w.trees(t)
				machines := w.Machines()
				machines[0].NoDefaultRoute, machines[2].NoDefaultRoute = true, true
				if _, err := w.run(t.Context(), Install()); err != nil {
					t.Fatal(err)
				}
				if bad := append(w.Unsound(2), w.repeated()...); len(bad) > 0 {
					t.Errorf("the cluster:\n%s", strings.Join(bad, "\n"))
				}
				for i, want := range []bool{true, false, true} {
					if _, err := os.Stat(filepath.Join(machines[i].Root(), "etc/systemd/system/sealos-service-route.service")); (err == nil) != want {
						t.Errorf("host %d: the unit: %v", i, err)
					}
				}
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
					t.Errorf("second run: %d changes, %v", changes, err)
				}
				// A host that has joined loses its default route, and the power.
				machines[1].NoDefaultRoute = true
				if changes, err := w.run(t.Context(), Install()); err != nil || changes != 1 {
					t.Errorf("after the change: %d changes, %v", changes, err)
				}
				w.Arm(&stepstest.Fault{Kind: stepstest.PowerCut, Number: 1})
				if _, err := w.run(t.Context(), Install()); err == nil {
					t.Error("no power cut")
				}
				w.Repair()
				w.Arm(nil)
				if err := w.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
				// etcd elects a leader once its members are up, and API servers wait for that.
				bounded, done := context.WithTimeout(t.Context(), w.timeout)
				err := wait.Until(bounded, 10*time.Millisecond, func(context.Context) error {
					if bad := w.Unsound(2); len(bad) > 0 {
						return errors.New(strings.Join(bad, "\n"))
					}
					return nil
				})
				if done(); err != nil {
					t.Errorf("after the power cut:\n%v", err)
				}
				if _, err := w.run(t.Context(), Reset()); err != nil {
					t.Fatal(err)
				}
				for i, tree := range w.trees(t) {
					if diff := differences(before[i], tree); len(diff) > 0 {
						t.Errorf("host %d after the reset: %v", i, diff)
					}
				}
				if bad := w.Gone(); len(bad) > 0 {
					t.Error(bad)
				}
			})
		})
	}
}

func TestARouteThatIsThereForServicesIsNoOverlap(t *testing.T) {
	kube := preflight.Settings{Pods: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}, Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/22")}}
	for name, c := range map[string]struct {
		facts agent.Facts
		want  int
	}{
		"put there by hand":    {agent.Facts{Routes: []string{"10.96.0.0/22"}}, 0},
		"with a default route": {agent.Facts{Routes: []string{"10.96.0.0/22"}, DefaultRoute: true}, 1},
		"another network":      {agent.Facts{Routes: []string{"10.96.0.0/16"}}, 1},
		"a part of it":         {agent.Facts{Routes: []string{"10.96.1.0/24"}}, 1},
		"the site's own":       {agent.Facts{Routes: []string{"10.96.0.0/22"}, Addresses: []string{"10.96.0.5/22"}}, 1},
		"to pods":              {agent.Facts{Routes: []string{"100.64.0.0/10"}}, 1},
	} {
		if got := preflight.JudgeTogether([]preflight.Host{{IP: "192.168.1.5", Facts: c.facts}}, "10.103.97.2", kube); len(got) != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNobodyGetsARouteWithIPVS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), withProxyMode(t, "ipvs"), 1, 1)
		w.timeout = 2e9
		w.Machines()[1].NoDefaultRoute = true
		// The simulated network plugin knows no ipvs, so the node is not Ready. Only the route matters here.
		_, err := w.run(t.Context(), Install())
		if !errors.Is(err, kube.ErrNotReady) {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(filepath.Join(w.Machines()[1].Root(), "etc/systemd/system/sealos-service-route.service")); err == nil {
			t.Error("the host got a route that it does not need")
		}
	})
}
