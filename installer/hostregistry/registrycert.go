package hostregistry

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// RegistryCert is what operators call the certificate of a master's registry, to have it renewed.
const RegistryCert = "registry"

// shown stands for what the registry of a host shows its clients: its certificate, unless it speaks plain HTTP, and its
// accounts.
func (g *Registry) shown(t *fleet.Target, cert []byte) string {
	if g.PlainRegistry(t) {
		return journal.Inputs(g.Accounts(t))
	}
	return journal.Inputs(g.Accounts(t), cert)
}

// renews tells whether the certificate of a master's registry is among those that renew names.
func (g *Registry) renews(t *fleet.Target, renew []string) (bool, error) {
	named := slices.Contains(renew, RegistryCert)
	if g.PlainRegistry(t) {
		if named {
			return false, fmt.Errorf("the registry of this cluster image speaks plain HTTP: it has no certificate")
		}
		return false, nil
	}
	return named || slices.Contains(renew, "all"), nil
}

// Renew makes the certificate of a master's registry anew if renew names it, and has the image's script put it in place.
// Our registry then reads it again by itself. It returns the number of files that were written.
func (g *Registry) Renew(ctx context.Context, t *fleet.Target, renew []string) (int, error) {
	if wanted, err := g.renews(t, renew); err != nil || !wanted {
		return 0, err
	}
	certPath, keyPath := g.Etc("registry_tls.crt"), g.Etc("registry_tls.key")
	has, err := t.Agent.ReadFiles(ctx, []string{certPath, keyPath})
	if err != nil {
		return 0, fmt.Errorf("read the registry's certificate: %w", err)
	}
	cert, key, err := g.Secrets.PKI.RenewRegistry(t.IP.String(), has[certPath], has[keyPath], g.Access().Domain, t.NodeName())
	if err != nil {
		return 0, err
	}
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: certPath, Mode: 0o644, Content: cert}, {Path: keyPath, Mode: 0o600, Content: key}})
	if err != nil {
		return len(changed), fmt.Errorf("write the registry's certificate: %w", err)
	}
	var ran atomic.Int64
	// Nothing else that the script depends on has changed: its own mark stays what it was.
	if err := g.run(ctx, t, t.Journal.Of(journal.Registry), g.shown(t, cert), &ran); err != nil {
		return len(changed), err
	}
	return len(changed), nil
}
