package steps

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/plan"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestAPlanOfThousandsOfMastersRendersEachKindOfHostOnce(t *testing.T) {
	var hosts []installer.Host
	ip := netip.MustParseAddr("10.0.0.1")
	for range 2000 {
		hosts = append(hosts, installer.Host{IP: ip, Master: true})
		ip = ip.Next()
	}
	hosts = append(hosts, installer.Host{IP: ip}, installer.Host{IP: ip.Next(), Env: map[string]string{"own": "x"}})
	images := stepstest.Cluster()
	r := newRun(t, makeBundle(t, images), t.Output(), hosts...)
	p, err := plan.Of(t.Context(), r.Site, r.Ledger.RecordedVersion)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Hosts) != len(hosts) {
		t.Errorf("%d hosts are planned, of %d", len(p.Hosts), len(hosts))
	}
	closeRun(t, r)

	// A setting that one host lacks is found all the same.
	images[0].Files["etc/more.tmpl"] = "{{ .only }}\n"
	for i := range hosts[:len(hosts)-1] {
		hosts[i].Env = map[string]string{"only": "there"}
	}
	r = newRun(t, makeBundle(t, images), t.Output(), hosts...)
	if _, err := plan.Of(t.Context(), r.Site, r.Ledger.RecordedVersion); err == nil || !strings.Contains(err.Error(), `"only"`) {
		t.Errorf("a template that one host of 2,002 cannot render: %v", err)
	}
}
