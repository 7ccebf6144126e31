package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/testbed"
)

const (
	// registryRoot is where masters keep the cluster's images.
	registryRoot = disk.DefaultRoot
	// pullLimit is how long a pod may take from the cut of a master's power until
	// its image has come and it has run: the time the API may be away, and as much
	// again for kubelet to hear of the pod and containerd to turn to the next
	// registry.
	pullLimit = 2 * failoverLimit

	repoOfK8s = "registry.k8s.io/"
)

// outlivesAMaster takes the power from the first master, from which the cluster was made and whose registry a node asks first. The
// API answers again through the virtual address of the node, and images come from the other registries, also onto a new node that
// another master takes in. When the first is back, all that its disk has lost meanwhile is put back.
func (s *Site) outlivesAMaster(ctx context.Context, st *story, spare *testbed.Host) error {
	dead, node := s.master0(), s.Nodes[0]
	if err := s.asksFirst(ctx, node, dead); err != nil {
		return err
	}
	st.heading("%s, from which the cluster was made and whose registry %s asks first, loses its power", dead.Name, node.Name)
	s.Masters = s.Masters[1:]
	var both errgroup.Group
	begin := time.Now()
	both.Go(func() error {
		gap, err := s.gap(ctx, node, dead)
		if err == nil {
			st.say("the API answered %s through its virtual address again after %.1f s", node.Name, gap.Seconds())
		}
		return err
	})
	both.Go(func() error { return s.podRuns(ctx, st, node, "etcd", begin) })
	if err := both.Wait(); err != nil {
		return err
	}
	lost, err := damageDisk(ctx, st, dead)
	if err != nil {
		return fmt.Errorf("damage the disk of %s: %w", dead.Name, err)
	}
	if err := s.carryIn(ctx, st, s.built); err != nil {
		return err
	}
	if err := s.statusTellsOf(ctx, st, dead); err != nil {
		return err
	}
	if err := supportBundle(ctx, s, st, dead); err != nil {
		return err
	}
	if err := s.takeIn(ctx, st, spare); err != nil {
		return err
	}
	if err := s.podRuns(ctx, st, spare, "kube-scheduler", time.Now()); err != nil {
		return err
	}

	st.heading("%s is back, and its registry lacks what its disk lost", dead.Name)
	if err := dead.PowerOn(ctx); err != nil {
		return err
	}
	if err := s.heal(ctx, st, dead); err != nil {
		return err
	}
	if err := s.scrub(ctx, st, dead, lost); err != nil {
		return err
	}
	if err := s.registriesAreEqual(ctx, st); err != nil {
		return err
	}
	var figures Figures
	return s.secondRun(ctx, st, &figures)
}

// damagedRegistryIsLeft flips a bit on the disk of the registry that a node asks
// first, while it runs. The pull must not fail for it, and the next run of the
// installer must bring the blob back.
func (s *Site) damagedRegistryIsLeft(ctx context.Context, st *story) error {
	node := s.Nodes[0]
	near, err := s.nearest(ctx, node)
	if err != nil {
		return err
	}
	st.heading("a blob of the registry that %s asks first is damaged while it is served", node.Name)
	layer, err := largestLayer(ctx, near, "kube-controller-manager")
	if err != nil {
		return err
	}
	if err := flipByte(blobFile(near, layer)); err != nil {
		return err
	}
	st.say("%s: one bit of %s is another", near.Name, layer)
	if err := s.podRuns(ctx, st, node, "kube-controller-manager", time.Now()); err != nil {
		return err
	}
	sum, _, err := s.install(ctx, st)
	if err != nil {
		return err
	}
	if sum.Changes != 1 {
		return fmt.Errorf("the installer changed %d things, want the one blob: %+v", sum.Changes, sum.Steps)
	}
	return s.registriesAreEqual(ctx, st)
}

// nearest is the master whose registry a node asks first.
func (s *Site) nearest(ctx context.Context, node *testbed.Host) (*testbed.Host, error) {
	var err error
	for _, m := range s.Masters {
		if err = s.asksFirst(ctx, node, m); err == nil {
			return m, nil
		}
	}
	return nil, err
}

// asksFirst fails unless containerd of a node asks the registry of a master
// before all others.
func (s *Site) asksFirst(ctx context.Context, node, master *testbed.Host) error {
	res, err := node.Exec(ctx, "cat", "/etc/containerd/certs.d/_default/hosts.toml")
	if err != nil {
		return err
	}
	_, first, _ := strings.Cut(res.Stdout, "\n[host.")
	line, _, _ := strings.Cut(first, "\n")
	if !strings.Contains(line, "//"+master.Addr+":") {
		return fmt.Errorf("%s asks another registry first than that of %s: %s", node.Name, master.Name, line)
	}
	return nil
}

// podRuns lets kubelet pull an image that the host has not, and run it once.
func (s *Site) podRuns(ctx context.Context, st *story, h *testbed.Host, program string, begin time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("no pod ran %s on %s within %s", program, h.Name, pullLimit))
	defer cancel()
	image, err := s.imageOf(ctx, program)
	if err != nil {
		return err
	}
	if there, err := hasImage(ctx, h, image); err != nil || there {
		return errors.Join(err, fmt.Errorf("%s has %s before it is pulled: %t", h.Name, image, there))
	}
	pod := "pull-" + program
	spec := fmt.Sprintf(`{"spec":{"nodeName":%q,"automountServiceAccountToken":false,"enableServiceLinks":false}}`, h.Name)
	err = until(ctx, func() error {
		out, err := s.kubectl(ctx, "run", pod, "--image="+image, "--image-pull-policy=IfNotPresent", "--restart=Never", "--overrides="+spec,
			"--request-timeout=5s", "--command", "--", "/usr/local/bin/"+program, "--version")
		if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
			return nil
		}
		if err != nil {
			return fmt.Errorf("run pod %s: %w: %s", pod, err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = until(ctx, func() error {
		phase, err := s.kubectl(ctx, "get", "pod", pod, "--request-timeout=5s", "-o", "jsonpath={.status.phase}")
		if err != nil || phase != "Succeeded" {
			return fmt.Errorf("pod %s is %q: %w", pod, phase, errors.Join(err, errNotYet))
		}
		return nil
	})
	if err != nil {
		events, _ := s.kubectl(context.WithoutCancel(ctx), "describe", "pod", pod)
		return fmt.Errorf("%w\n%s", err, events)
	}
	st.say("%s pulled %s and ran it: %.1f s", h.Name, image, time.Since(begin).Seconds())
	return nil
}

// errNotYet says that something is merely not so by now.
var errNotYet = errors.New("not yet")

// until tries again every half second until try succeeds or ctx ends.
func until(ctx context.Context, try func() error) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// imageOf finds the image of a program of Kubernetes among those that masters run.
func (s *Site) imageOf(ctx context.Context, program string) (string, error) {
	res, err := s.master0().Exec(ctx, "cat", "/var/lib/sealos/data/default/rootfs/images/shim/DefaultImageList")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(res.Stdout) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, repoOfK8s+program+":") {
			return line, nil
		}
	}
	return "", fmt.Errorf("no image of %s in\n%s", program, res.Stdout)
}

func ctr(ctx context.Context, h *testbed.Host, args ...string) (string, error) {
	res, err := h.Exec(ctx, append([]string{"ctr", "--namespace", "k8s.io"}, args...)...)
	return strings.TrimSpace(res.Stdout), err
}

func hasImage(ctx context.Context, h *testbed.Host, image string) (bool, error) {
	out, err := ctr(ctx, h, "images", "list", "-q", "name=="+image)
	return out == image, err
}

// mastersPinTheirImages checks that kubelet's garbage collection would leave the
// images of the control plane and the pause image.
func (s *Site) mastersPinTheirImages(ctx context.Context, st *story) error {
	st.heading("control-plane and pause images are pinned in containerd")
	for _, m := range s.Masters {
		pinned, err := ctr(ctx, m, "images", "list", "-q", `labels."io.cri-containerd.pinned"==pinned`)
		if err != nil {
			return err
		}
		for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns/coredns", "pause"} {
			if image, err := s.imageOf(ctx, program); err != nil || !strings.Contains("\n"+pinned+"\n", "\n"+image+"\n") {
				return fmt.Errorf("%s does not pin %s%s (%w):\n%s", m.Name, repoOfK8s, program, errors.Join(err, errNotYet), pinned)
			}
		}
	}
	return nil
}
