package steps

import (
	"context"
	"errors"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Options is what a run works with. Everything in it is only read.
type Options struct {
	Cluster *installer.Cluster
	Bundle  *bundle.Reader
	State   *installer.State
	CADir   string // authorities to take over, in the layout of /etc/kubernetes/pki; empty = made here
	Copy    bool   // send every blob to the registry hosts, known or not
	// IgnoreChecks are names out of [Checks] whose problems are told and do not stop the run.
	IgnoreChecks []string
	// LeaveOut are addresses of hosts that a reset goes on without.
	LeaveOut []string
	// Again makes the cluster anew on the ground of a record that only a master has; nil where that makes no difference.
	Again func(recorded *installer.Cluster) (*installer.Cluster, error)
}

// Run is one run of a pipeline: the options, the hosts, and what steps hand on to later ones.
type Run struct {
	Options
	*fleet.Fleet

	created   time.Time
	kube      *kube.Client
	passwords passwords // of the registry, settled once hosts were looked at
	verified  chan error
	pki       *certs.PKI
	record    begunRecord
	known     []kube.Node // what the cluster said of its nodes while hosts were looked at; nil if it did not answer
}

// New prepares a run on the hosts of the cluster. It touches none.
func New(o Options, f fleet.Options) *Run {
	f.Cluster, f.Payload = o.Cluster.Name, payload.New(o.Bundle)
	r := &Run{Options: o, Fleet: fleet.New(f, o.Cluster.Hosts), created: time.Now()}
	r.kube = &kube.Client{ControlPlanes: r.askable, AdminConf: adminConf, CacheDir: r.kubectlCache()}
	r.hideGiven()
	return r
}

// Close takes away what hosts do not need of this run, gives back the cluster's
// lock and ends the connections to all hosts.
func (r *Run) Close() error {
	return errors.Join(r.Withdraw(context.Background()), r.Fleet.Close()) // for seconds at most
}

// CleanUp is what the engine calls when a step has failed: of a run that has not begun to change hosts, nothing stays there.
func (r *Run) CleanUp(ctx context.Context) error {
	if r.record.begun {
		return nil // those hosts are this run's now, and the next one goes on with them
	}
	return r.Withdraw(ctx)
}

func (r *Run) dir(elem ...string) string {
	return installer.Dir(r.Cluster.Name, elem...)
}

func (r *Run) rootfsDir() string { return r.dir("rootfs") }
