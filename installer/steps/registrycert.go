package steps

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// registryCert is what the certificate of a master's registry is called where it is renewed.
const registryCert = "registry"

// shown stands for what the registry of a host shows its clients: a certificate, unless it speaks plain HTTP, and whom it lets in.
func (r *Run) shown(t *fleet.Target, cert []byte) string {
	if r.plainRegistry(t) {
		return journal.Inputs(r.accounts(t))
	}
	return journal.Inputs(r.accounts(t), cert)
}

// renewsRegistry tells whether the registry's certificate is among those to be made anew on a master.
func (r *Run) renewsRegistry(t *fleet.Target, renew []string) (bool, error) {
	named := slices.Contains(renew, registryCert)
	if r.plainRegistry(t) {
		if named {
			return false, fmt.Errorf("the registry of this cluster image speaks plain HTTP: it has no certificate")
		}
		return false, nil
	}
	return named || slices.Contains(renew, "all"), nil
}

// renewRegistry makes the certificate of a master's registry anew if that is
// asked for, and has the image's script put it in place. Our registry reads it again by itself.
func (r *Run) renewRegistry(ctx context.Context, t *fleet.Target, renew []string) (int, error) {
	if wanted, err := r.renewsRegistry(t, renew); err != nil || !wanted {
		return 0, err
	}
	certPath, keyPath := r.registryEtc("registry_tls.crt"), r.registryEtc("registry_tls.key")
	has, err := t.Agent.ReadFiles(ctx, []string{certPath, keyPath})
	if err != nil {
		return 0, fmt.Errorf("read the registry's certificate: %w", err)
	}
	cert, key, err := r.pki.RenewRegistry(t.IP.String(), has[certPath], has[keyPath], r.access().Domain, t.NodeName())
	if err != nil {
		return 0, err
	}
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: certPath, Mode: 0o644, Content: cert}, {Path: keyPath, Mode: 0o600, Content: key}})
	if err != nil {
		return len(changed), fmt.Errorf("write the registry's certificate: %w", err)
	}
	var ran atomic.Int64
	// Nothing else that the script depends on has changed: its own mark stays what it was.
	if err := r.runRegistry(ctx, t, t.Journal.Of(journal.Registry), r.shown(t, cert), &ran); err != nil {
		return len(changed), err
	}
	return len(changed), nil
}

// registryCertOn reads the certificate that the registry of a master shows: the
// one that the image's script has put in place.
func (r *Run) registryCertOn(ctx context.Context, t *fleet.Target) ([]certs.Info, error) {
	if r.plainRegistry(t) {
		return nil, nil
	}
	env := installer.MergeEnv(r.share(t).All()[0].Env, r.Cluster.Env, t.Host.Env)
	place := path.Join(cmp.Or(env["registryConfig"], "/etc/registry"), "tls.crt")
	found, err := t.Agent.ReadFiles(ctx, []string{place})
	if err != nil {
		return nil, fmt.Errorf("read the registry's certificate: %w", err)
	}
	if info, ok := certs.Describe(place, found[place]); ok {
		return []certs.Info{info}, nil
	}
	return nil, nil
}
