package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// render makes each image's overlay for each host it goes to.
func (r *Run) render(ctx context.Context) (installer.Result, error) {
	if err := errors.Join(r.unusedConfigs(), r.preparePKI()); err != nil {
		return installer.Result{}, err
	}
	rendered := 0
	var errs []error
	for _, t := range r.Targets {
		var failed []error
		t.overlays, failed = r.renderFor(t)
		for _, err := range failed {
			errs = append(errs, &installer.HostError{Host: t.IP.String(), Err: err})
		}
		for _, o := range t.overlays {
			rendered += len(o)
		}
		// What kubeadm would refuse is found before a host is changed.
		if _, err := kubeadm.Render(r.kubeadmInput(kubeadm.Init, t)); err != nil {
			errs = append(errs, &installer.HostError{Host: t.IP.String(), Err: err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Note: fmt.Sprintf("%d files", rendered)}, nil
}

// renderFor renders the templates of a host, and tells every one that cannot be.
func (r *Run) renderFor(t *Target) (out overlays, failed []error) {
	out = overlays{}
	for _, i := range r.imagesFor(t) {
		o, err := i.Overlay(i.files, r.Cluster.Configs, r.envOf(i, t))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		out[i] = o
	}
	return out, failed
}

// unusedConfigs refuses Config documents that would change nothing.
func (r *Run) unusedConfigs() error {
	files := map[string]map[string]installer.File{}
	for _, i := range r.images {
		files[i.Name] = i.files
	}
	for _, name := range r.keptImages() {
		files[name] = nil // its documents were applied when it came
	}
	return installer.UnusedConfigs(r.Cluster.Configs, files)
}
