package plan

import (
	"net/netip"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/site"
)

func TestOneHostOfEachKindIsRendered(t *testing.T) {
	var hosts []installer.Host
	ip := netip.MustParseAddr("10.0.0.1")
	for range 2000 {
		hosts = append(hosts, installer.Host{IP: ip, Master: true})
		ip = ip.Next()
	}
	hosts = append(hosts, installer.Host{IP: ip}, installer.Host{IP: ip.Next(), Env: map[string]string{"own": "x"}})
	on := &site.Site{Fleet: fleet.New(fleet.Options{}, hosts, nil)}
	if kinds := unlike(on); len(kinds) != 4 { // the first master, another, a worker, one with settings of its own
		t.Errorf("%d hosts are rendered", len(kinds))
	}
}
