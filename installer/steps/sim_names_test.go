package steps

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// capitals gives machines host names with capital letters, as some sites have them.
func (w *world) capitals() {
	for i, m := range w.Machines() {
		m.Name = strings.ToUpper("srv-k8s-") + string(rune('1'+i))
	}
}

func TestHostNamesWithCapitalsBecomeNodesInLowerCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
		w.capitals()
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		if bad := append(w.Unsound(2), w.repeated()...); len(bad) > 0 {
			t.Errorf("the cluster:\n%s", strings.Join(bad, "\n"))
		}
		for _, m := range w.Machines() {
			hosts, err := os.ReadFile(filepath.Join(m.Root(), "etc/hosts"))
			if err != nil || !strings.Contains(string(hosts), "10.77.0.3 srv-k8s-3 SRV-K8S-3 # sealos\n") {
				t.Errorf("%s: /etc/hosts lacks a spelling (%v):\n%s", m.IP, err, hosts)
			}
		}
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("second run: %d changes, %v", changes, err)
		}
		// What is renewed has the name that it had.
		if _, err := w.run(t.Context(), Certificates(true, []string{"all"}, func([]HostCertificates) {})); err != nil {
			t.Fatal(err)
		}
		if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
			t.Errorf("after a renewal: %d changes, %v", changes, err)
		}
		if _, err := w.run(t.Context(), Reset()); err != nil {
			t.Error(err)
		}
		if bad := w.Gone(); len(bad) > 0 {
			t.Error(bad)
		}
	})
}

func TestHostsWhoseNamesDifferInCaseOnlyAreDuplicates(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.Machines()[1].Name = "HOST-1"
	_, err := w.run(t.Context(), Install())
	var refused *preflight.Error
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `its host name "HOST-1" is the name of 10.77.0.1 too`) {
		t.Errorf("%v", err)
	}
	got := preflight.JudgeTogether([]preflight.Host{
		{IP: "10.0.0.2", Facts: agent.Facts{Hostname: "Srv-1"}}, {IP: "10.0.0.3", Facts: agent.Facts{Hostname: "srv-1"}}, {IP: "10.0.0.4"},
	}, "10.103.97.2", preflight.Settings{})
	if len(got) != 2 {
		t.Errorf("%+v", got)
	}
}
