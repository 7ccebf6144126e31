package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
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
		t.Overlays, failed = r.share(t).Render()
		for _, err := range failed {
			errs = append(errs, &installer.HostError{Host: t.IP.String(), Err: err})
		}
		for _, o := range t.Overlays {
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

// unusedConfigs refuses Config documents that would change nothing.
func (r *Run) unusedConfigs() error {
	files := map[string]map[string]payload.File{}
	for _, i := range r.Payload.Images {
		files[i.Name] = i.Files
	}
	for _, name := range r.keptImages() {
		files[name] = nil // its documents were applied when it came
	}
	return payload.UnusedConfigs(r.Cluster.Configs, files)
}
