package steps

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Options is what a run works with. Everything in it is only read.
type Options struct {
	Cluster    *installer.Cluster
	Bundle     *bundle.Reader
	State      *installer.State
	Report     *installer.Reporter
	Jobs       int // hosts worked on at once
	HostKey    host.HostKeyPolicy
	KnownHosts string
	// AgentSocket is that of an ssh agent, and UserConfig the operator's own ssh configuration; both may be absent.
	AgentSocket string
	UserConfig  *host.UserConfig
	Timeout     time.Duration // of each script and each kubeadm command
	CADir       string        // authorities to take over, in the layout of /etc/kubernetes/pki; empty = made here
	Copy        bool          // send every blob to the registry hosts, known or not
	// IgnoreChecks are names out of [Checks] whose problems are told and do not stop the run.
	IgnoreChecks []string
	// LeaveOut are addresses of hosts that a reset goes on without.
	LeaveOut []string
	// Again makes the cluster anew on the ground of a record that only a master has; nil where that makes no difference.
	Again func(recorded *installer.Cluster) (*installer.Cluster, error)
}

// Run is one run of a pipeline: the options, and what its steps found.
type Run struct {
	Options
	Targets []*Target // the hosts worked on, in the order of Cluster.Hosts; see [Run.master0]

	payload   *payload.Payload
	passwords passwords // of the registry, settled once hosts were looked at
	verified  chan error
	pki       *certs.PKI
	created   time.Time
	locks     locks
	held      bool // another installer has the lock
	record    begunRecord
	kube      *kube.Client
	known     []kube.Node // what the cluster said of its nodes while hosts were looked at; nil if it did not answer
	dial      func(context.Context, *Target) (host.Host, error)
	jumps     jumps
}

// Target is one host during a run. Its fields are set by the check step and
// belong to the goroutine that works on the host.
type Target struct {
	installer.Host
	Link  host.Host
	Agent *agent.Agent
	Facts agent.Facts

	skew      time.Duration // how far the host's clock is ahead of ours
	overlays  payload.Overlays
	Journal   journal.Journal  // what was done there, for this cluster
	arch      string           // where the bundle is for several
	images    []*payload.Image // of its architecture, where that is not the first master's
	connected bool             // it is reached, and has the stub
	looked    bool             // facts and marks are known
	gone      bool             // it has joined, but the cluster has no node of it: somebody deleted that
	worked    bool             // scripts of images have run there before, in an earlier run
	stub      string           // this run's installer there; empty before it was brought and when it was taken away
	putStub   bool             // this run brought it
	stubUsed  bool             // it is the one that units and scripts use
	left      bool             // it was to be taken away
	checked   string           // inputs with which the image's check script was passed now or before
	// etcdManifest is the data directory that the manifest of an etcd on the host names.
	etcdManifest string
}

// New prepares a run. It touches no host.
func New(o Options) *Run {
	r := &Run{Options: o, created: time.Now(), payload: payload.New(o.Bundle)}
	r.dial = r.dialHost
	r.kube = &kube.Client{ControlPlanes: r.askable, AdminConf: adminConf, CacheDir: r.kubectlCache()}
	r.hideGiven()
	for _, h := range o.Cluster.Hosts {
		if !h.Away {
			r.Targets = append(r.Targets, &Target{Host: h})
		}
	}
	return r
}

// Close takes away what hosts do not need of this run, gives back the cluster's
// lock and ends the connections to all hosts.
func (r *Run) Close() error {
	errs := []error{r.withdraw(context.Background())} // for seconds at most
	r.unlock()
	for _, t := range r.Targets {
		if t.Link != nil {
			errs = append(errs, t.Link.Close())
		}
	}
	errs = append(errs, r.jumps.close())
	return errors.Join(errs...)
}

func (r *Run) masters() []*Target { return r.filter(true) }
func (r *Run) nodes() []*Target   { return r.filter(false) }

// master0 is the master that speaks for the cluster: the first that is in it, and before there is one, the first.
func (r *Run) master0() *Target {
	for _, t := range r.Targets {
		if t.Master && t.looked && t.Joined() {
			return t
		}
	}
	return r.Targets[0]
}

// otherMasters are those of this run but master0.
func (r *Run) otherMasters() []*Target {
	first := r.master0()
	return slices.DeleteFunc(r.masters(), func(t *Target) bool { return t == first })
}

func (r *Run) filter(master bool) []*Target {
	var out []*Target
	for _, t := range r.Targets {
		if t.Master == master {
			out = append(out, t)
		}
	}
	return out
}

// each runs fn on all targets, at most jobs at once, and keeps every host's error.
func each(ctx context.Context, targets []*Target, jobs int, fn func(context.Context, *Target) error) error {
	if jobs < 1 {
		jobs = 1
	}
	slots := make(chan struct{}, jobs)
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := ctx.Err(); err != nil {
				errs[i] = &installer.HostError{Host: t.IP.String(), Err: context.Cause(ctx)}
				return
			}
			if err := fn(ctx, t); err != nil {
				errs[i] = &installer.HostError{Host: t.IP.String(), Err: err}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// each runs fn on the given targets with the run's own concurrency.
func (r *Run) each(ctx context.Context, targets []*Target, fn func(context.Context, *Target) error) error {
	if err := r.lostLock(); err != nil {
		return err
	}
	return each(ctx, targets, r.Jobs, fn)
}

func (r *Run) dir(elem ...string) string {
	return installer.Dir(r.Cluster.Name, elem...)
}

func (r *Run) rootfsDir() string { return r.dir("rootfs") }

// Begun tells whether this cluster was ever begun on the host.
func (t *Target) Begun() bool { return !t.Journal.Empty() }

// Joined tells whether this cluster's kubeadm came to its end on the host.
func (t *Target) Joined() bool { return t.Journal.Has(journal.KubeadmDone) }
