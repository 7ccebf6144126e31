package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// kubelet brings new settings to the kubelet of a host, and restarts it. Pods move away first where they may not fit the settings.
func (r *roll) kubelet(ctx context.Context, h *host) (int, error) {
	if !r.Wish.Apply {
		return 0, nil
	}
	names := r.writable(h, kubeletConfig, kubeletFlags)
	if len(names) == 0 && !slices.Contains(h.mark.Pending, pendingKubelet) {
		return 0, nil
	}
	fields := slices.Clone(h.mark.Fields)
	for _, name := range names {
		fields = append(fields, h.fields[name]...)
	}
	drain := !r.alone && slices.ContainsFunc(fields, func(d kubeadm.Difference) bool { return disturbance(d) == disturbsPods })
	r.Report.Infof("%s: kubelet gets new settings", h.IP)
	if drain {
		if err := r.drain(ctx, h); err != nil {
			return 0, err
		}
	}
	if len(names) > 0 {
		if err := r.write(ctx, h, names, []string{pendingKubelet}, fields); err != nil {
			if drain && ctx.Err() == nil { // its kubelet runs with what it had
				err = errors.Join(err, r.Readmit(ctx, h.NodeName()))
			}
			return 0, err
		}
	}
	if err := r.restart(ctx, h, fields); err != nil {
		if ctx.Err() != nil {
			return 0, err
		}
		back := r.putBack(ctx, h, []string{kubeletConfig, kubeletFlags})
		if back == nil {
			back = r.restart(ctx, h, fields)
		}
		if back == nil && drain {
			back = r.Readmit(ctx, h.NodeName())
		}
		if back == nil {
			back = r.restored(ctx, h, []string{kubeletConfig, kubeletFlags}, pendingKubelet)
		}
		return 0, gaveBack("kubelet", err, back)
	}
	if drain {
		if err := r.Readmit(ctx, h.NodeName()); err != nil {
			return 0, err
		}
	}
	h.has(names)
	return 1, r.done(ctx, h, pendingKubelet)
}

// drain moves the pods of a host away. If that does not succeed the host stays as it was.
func (r *roll) drain(ctx context.Context, h *host) error {
	err := r.Evacuate(ctx, cmp.Or(r.DrainTimeout, DefaultDrain), h.NodeName())
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w\n  Its kubelet keeps the settings of before, and pods may run there again. Mend what holds the pods, or give more time with --drain-timeout", err)
}

// looks is how many times in a row a kubelet must be found well: one that ends again soon after its start is not.
const looks = 3

// restart starts kubelet anew and waits until it has told the cluster that its node is Ready. fields are those that changed.
func (r *roll) restart(ctx context.Context, h *host, fields []kubeadm.Difference) error {
	if state := checkpoints(fields); len(state) > 0 {
		if _, err := r.Exec(ctx, h.Target, r.step, "systemctl", "stop", "kubelet"); err != nil {
			return err
		}
		var files []agent.File
		for _, name := range state {
			files = append(files, agent.File{Path: name, Remove: true})
		}
		if _, err := h.Agent.WriteFiles(ctx, files); err != nil {
			return err
		}
	}
	if _, err := r.Exec(ctx, h.Target, r.step, "systemctl", "restart", "kubelet"); err != nil {
		return err
	}
	starts := fleet.KubeletStarts(ctx, h.Target)
	told, err := "", error(nil)
	err = installer.Insist(ctx, r.APIPatience(), func(ctx context.Context) error {
		told, err = r.Kube.Heartbeat(ctx, h.NodeName()) // of the kubelet of before, at the latest
		return err
	})
	if err != nil {
		return fmt.Errorf("ask when kubelet was heard of: %w", err)
	}
	well := 0
	return fleet.InsistOnKubelet(ctx, h.Target, starts, r.patience(), func(ctx context.Context) error {
		err := r.isWell(ctx, h, told)
		if well++; err != nil {
			well = 0
		} else if well < looks {
			err = fmt.Errorf("kubelet has just come up")
		}
		return err
	})
}

// isWell is an error if kubelet does not run on a host, has not been heard of since told, or its node is not Ready.
func (r *roll) isWell(ctx context.Context, h *host, told string) error {
	f, err := h.Agent.Facts(ctx, r.LifeRequest(h.Target))
	if err != nil {
		return err
	}
	if !f.Programs["kubelet"] {
		return fmt.Errorf("kubelet does not run (look at `journalctl -u kubelet` on the host)")
	}
	now, err := r.Kube.Heartbeat(ctx, h.NodeName())
	if err != nil {
		return err
	}
	if now == told {
		return fmt.Errorf("kubelet has not been heard of since it was started (look at `journalctl -u kubelet` on the host)")
	}
	nodes, err := r.Kube.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Name == h.NodeName() && n.Ready == "True" {
			return nil
		} else if n.Name == h.NodeName() {
			return fmt.Errorf("node %s is not Ready: %s", n.Name, n.Message)
		}
	}
	return fmt.Errorf("node %s is not in the cluster", h.NodeName())
}
