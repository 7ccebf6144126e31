package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// cluster is what the API has told.
type cluster struct {
	seen   kube.Seen
	err    error    // why it has told nothing
	back   []string // addresses of hosts that were taken out while they were dead, and where a kubelet answers
	causes []string
}

const (
	hedge     = time.Second            // the API of a master may be silent so long before the next is asked, too
	causeDone = 200 * time.Millisecond // causes are looked for until so long before the end
)

// askCluster asks the cluster through the masters that planes brings. The first is asked at once; another one when that fails, or
// is silent for a while. While nobody answers, what has ended on the masters is looked for.
func (r *Room) askCluster(ctx context.Context, planes <-chan kube.ControlPlane, within time.Duration) cluster {
	end, _ := ctx.Deadline()
	finding, stop := context.WithDeadline(ctx, end.Add(-causeDone))
	defer stop()
	var known, waiting []kube.ControlPlane
	var errs []error
	var found []string
	answered, causes := make(chan cluster), make(chan []string, 1)
	pending, next := 0, true // questions that run; whether another master may be asked
	lookedFor, looked := false, false
	look := func() {
		if lookedFor {
			return
		}
		lookedFor = true
		c := r.client(known...)
		go func() { causes <- c.ControlPlaneCauses(finding, len(known)) }()
	}
	patient, slow := time.After(hedge), time.After(within/2)
	for {
		if len(waiting) > 0 && next {
			p := waiting[0]
			waiting, pending, next, patient = waiting[1:], pending+1, false, time.After(hedge)
			go func() {
				select {
				case answered <- r.ask(ctx, p):
				case <-ctx.Done():
				}
			}()
		}
		if nobody := planes == nil && pending == 0 && len(waiting) == 0; nobody && looked {
			return cluster{err: noAnswer(errs), causes: found}
		} else if nobody {
			look()
		}
		select {
		case p, ok := <-planes:
			if ok {
				known, waiting = append(known, p), append(waiting, p)
			} else {
				planes = nil
			}
		case c := <-answered:
			if c.err == nil {
				c.causes = r.client(known...).PodCauses(finding, c.seen.Lacks(r.hostsIn(c.seen.Nodes)).Sick)
				return c
			}
			pending, next, errs = pending-1, true, append(errs, c.err)
		case <-patient:
			next = true // the one before may still answer
		case <-slow:
			look()
		case found = <-causes:
			looked = true
		case <-ctx.Done():
			return cluster{err: noAnswer(append(errs, context.Cause(ctx))), causes: found}
		}
	}
}

func noAnswer(errs []error) error {
	if len(errs) == 0 {
		return kube.ErrNoControlPlane
	}
	return errors.Join(errs...)
}

// client asks the cluster through these masters.
func (r *Room) client(planes ...kube.ControlPlane) *kube.Client {
	return &kube.Client{ControlPlanes: func() []kube.ControlPlane { return planes }, AdminConf: installer.AdminConf, CacheDir: r.KubectlCache()}
}

func (r *Room) ask(ctx context.Context, p kube.ControlPlane) (c cluster) {
	back := make(chan []string, 1)
	go func() { back <- r.backFrom(ctx, p) }()
	c.seen, c.err = r.client(p).See(ctx)
	c.back = <-back
	return c
}

// knocking is how long hosts that were taken out may take to answer.
const knocking = time.Second

// backFrom are the addresses of hosts that were taken out while they were dead, and where a kubelet answers a control plane.
func (r *Room) backFrom(ctx context.Context, p kube.ControlPlane) (out []string) {
	var ends []agent.Endpoint
	for _, ip := range r.Cluster.Buried() {
		ends = append(ends, agent.Endpoint{IP: ip, Port: installer.KubeletPort})
	}
	if len(ends) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, knocking)
	defer cancel()
	silent, err := p.Agent.Reach(ctx, ends, "")
	if err != nil {
		return nil // one whose packets are dropped; or an older stub, which waits for a word
	}
	for _, e := range ends {
		if !slices.ContainsFunc(silent, func(u agent.Unreached) bool { return u.Endpoint == e }) {
			out = append(out, e.IP)
		}
	}
	return out
}

// hostsIn are the hosts with the names that the API has for them.
func (r *Room) hostsIn(nodes []kube.Node) []kube.Host {
	var out []kube.Host
	for _, t := range r.Targets {
		h := kube.Host{IP: t.IP, Master: t.Master}
		if n, ok := kube.NodeOf(nodes, h); ok {
			h.Node = n.Name
		}
		out = append(out, h)
	}
	return out
}

// bundleBlobs are the blobs that the bundle brings, by the hex digits of their digests; nil if it cannot be read in time.
func (r *Room) bundleBlobs(ctx context.Context) map[string]bool {
	images, err := payload.Catalog(ctx, r.Payload.Bundle)
	if err != nil {
		return nil // who installs from it is told why
	}
	out := map[string]bool{}
	for _, b := range images.Blobs() {
		out[b.Digest.Encoded()] = true
	}
	return out
}
