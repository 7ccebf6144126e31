package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// verifyInBackground verifies every byte of the bundle while hosts are looked at.
func (r *Run) verifyInBackground(ctx context.Context) {
	r.verified = make(chan error, 1)
	go func() {
		work, so := r.Report.Does("", "verifies the bundle", r.Payload.Bundle.Size()), int64(0)
		damages, err := r.Payload.Bundle.Verify(ctx, func(done, _ int64) {
			work.Did(done - so)
			so = done
		})
		work.End(err)
		for _, d := range damages {
			err = errors.Join(err, fmt.Errorf("%s is damaged: bytes %d to %d of the file: %s", d.Entry, d.Offset, d.Offset+d.Length, d.Reason))
		}
		if len(damages) > 0 {
			err = fmt.Errorf("the bundle is damaged, nothing was installed: copy the file again and compare its checksum\n%w", err)
		}
		r.verified <- err
	}()
}

// openBundle waits until every byte of the bundle is verified. Until then hosts have got nothing but the stub, which is
// taken away again if the bundle is damaged.
func (r *Run) openBundle(ctx context.Context) (installer.Result, error) {
	select {
	case <-ctx.Done():
		return installer.Result{}, context.Cause(ctx)
	case err := <-r.verified:
		if err != nil {
			return installer.Result{}, err
		}
	}
	if err := r.registry.FindExpected(ctx, r.Copy); err != nil {
		return installer.Result{}, err
	}
	b := r.Payload.Bundle
	return installer.Result{Note: fmt.Sprintf("%s, %s, digest %.19s…", count.Of(len(r.Payload.Brought()), "cluster image"), count.Of(len(payload.ContainerImages(b)), "container image"), b.IndexDigest())}, nil
}
