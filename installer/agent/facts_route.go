package agent

import (
	"net/netip"

	"github.com/sealbuild/sealbuild/installer/care"
)

// routeFacts asks the kernel which of the networks a connection could be begun to.
func routeFacts(f *Facts, networks []string) {
	for _, text := range networks {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() && !care.Routed(p) {
			f.NoRoute = append(f.NoRoute, text)
		}
	}
	ours, err := care.ServiceRoutes()
	if err != nil {
		return
	}
	for _, p := range ours {
		f.ServiceRoutes = append(f.ServiceRoutes, p.String())
	}
}
