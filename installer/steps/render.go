package steps

import (
	"context"
	"errors"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
)

// render renders the files of each image for each host that it goes to.
func (r *Run) render(ctx context.Context) (installer.Result, error) {
	err := r.UnusedConfigs()
	if !r.Payload.Adds() {
		err = errors.Join(err, r.secrets.PreparePKI())
	}
	if err != nil {
		return installer.Result{}, err
	}
	rendered := 0
	var errs []error
	for _, t := range r.Targets {
		var failed []error
		t.Overlays, failed = r.Share(t).Render()
		for _, err := range failed {
			errs = append(errs, t.Failed(err))
		}
		for _, o := range t.Overlays {
			rendered += len(o)
		}
		if r.Payload.Adds() {
			continue
		}
		// What kubeadm would refuse is found before a host is changed.
		if _, err := r.InitDocuments(t); err != nil {
			errs = append(errs, t.Failed(err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Note: count.Of(rendered, "file")}, nil
}
