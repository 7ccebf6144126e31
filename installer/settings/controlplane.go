package settings

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// controlPlane brings new manifests to a master, one static pod after the other, and waits until each of them runs. While its API
// server starts anew, care on the nodes sends nobody there.
func (r *roll) controlPlane(ctx context.Context, h *host) (changes int, err error) {
	if !h.Master || !r.Wish.Apply {
		return 0, nil
	}
	for _, c := range kubeadm.Components() {
		names := r.writable(h, manifest(c))
		if len(names) == 0 && !slices.Contains(h.mark.Pending, c) {
			continue
		}
		r.Report.Infof("%s: %s gets new settings", h.IP, c)
		want := h.now[manifest(c)]
		if c == "kube-apiserver" {
			if err := r.breathe(ctx); err != nil {
				return changes, err
			}
		}
		if len(names) > 0 {
			want = h.wanted[manifest(c)]
			if err := r.write(ctx, h, names, []string{c}, nil); err != nil {
				return changes, err
			}
		}
		if err := r.awaitPod(ctx, h, c, want); err != nil {
			if ctx.Err() != nil {
				return changes, err
			}
			back := r.putBack(ctx, h, []string{manifest(c)})
			if back == nil {
				back = r.awaitPod(ctx, h, c, nil)
			}
			if back == nil {
				back = r.restored(ctx, h, []string{manifest(c)}, c)
			}
			return changes, gaveBack(c, err, back)
		}
		if c == "kube-apiserver" {
			r.lastAPI = time.Now()
		}
		h.has(names)
		if err := r.done(ctx, h, c); err != nil {
			return changes, err
		}
		changes++
	}
	return changes, nil
}

// breathe waits until care on every node has seen that the API server before this one is back.
func (r *roll) breathe(ctx context.Context) error {
	gap := min(care.DefaultInterval+care.DefaultTimeout, r.Timeout/20)
	return wait.For(ctx, max(0, time.Until(r.lastAPI.Add(gap))))
}

// awaitPod waits until the static pod of a component on a host is ready and, unless the manifest is nil, is as that says. The API
// server must also say itself that it is ready.
func (r *roll) awaitPod(ctx context.Context, h *host, component string, manifest []byte) error {
	name := component + "-" + h.NodeName()
	return installer.Insist(ctx, r.patience(), func(ctx context.Context) error {
		if component == "kube-apiserver" {
			if _, err := r.Kube.KubectlOn(ctx, r.ControlPlane(h.Target), "get", "--raw", "/readyz"); err != nil {
				return err
			}
		}
		raw, err := r.Kube.Kubectl(ctx, "get", "pod", "-n", mapNamespace, name, "-o", "json")
		if err != nil {
			return err
		}
		if manifest != nil {
			if ok, err := kubeadm.Holds(raw, manifest); err != nil {
				return err
			} else if !ok {
				return fmt.Errorf("kubelet has not taken the new manifest of %s yet", name)
			}
		}
		pods, err := r.Kube.Pods(ctx, "-n", mapNamespace, "-l", "component="+component, "--field-selector", "spec.nodeName="+h.NodeName())
		if err != nil {
			return err
		}
		for _, p := range pods {
			if p.Name == name {
				return p.NotReady()
			}
		}
		return fmt.Errorf("pod %s is not there", name)
	})
}
