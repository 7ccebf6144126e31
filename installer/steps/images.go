package steps

import (
	"context"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// load is how every pipeline begins: it settles the architecture, and reads the images and their small files. Only where the
// bundle is for several architectures is a host asked.
func (r *Run) load(ctx context.Context) error {
	if err := r.settleArch(ctx); err != nil {
		return err
	}
	return r.read(ctx)
}

// read reads the images and their small files, and judges the addresses that they ask for.
func (r *Run) read(ctx context.Context) error {
	if err := r.payload.Load(ctx, r.Cluster); err != nil {
		return err
	}
	return r.checkNetworks()
}

// access is how the registry of the cluster is reached, as far as its passwords are settled.
func (r *Run) access() payload.Access {
	a := r.payload.Access(r.Cluster)
	a.Password, a.PushPassword = r.passwords.pull, r.passwords.push
	return a
}

// share is what a host has of the payload, as far as that is known now.
func (r *Run) share(t *Target) payload.Share {
	return payload.Share{
		Payload: r.payload, Cluster: r.Cluster, Host: t.Host, Variant: t.images, First: t == r.master0(), Access: r.access(), Overlays: t.overlays,
	}
}

// warnOfScripts tells of labels that are not run.
func (r *Run) warnOfScripts() {
	for _, i := range r.payload.Images {
		for _, key := range payload.Scripts() {
			if _, has := i.Labels[key]; has && i.Type == installer.TypeApplication {
				r.Report.Warnf("%s is an application: its label %s is not run", i.Name, key)
			}
		}
	}
}

// registryHosts are the hosts that serve the registry: every master.
func (r *Run) registryHosts() []*Target { return r.masters() }
