package steps

import (
	"context"
	"errors"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/health"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/hostregistry"
	"github.com/sealbuild/sealbuild/installer/imagedirs"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/nodes"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Options is what a run works with. Everything in it is only read.
type Options struct {
	State *installer.State
	CADir string // authorities to take over, in the layout of /etc/kubernetes/pki; empty = made here
	Copy  bool   // send every blob to the registry hosts, known or not
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
	*site.Site
	secrets  *secrets.Secrets
	registry *hostregistry.Registry
	members  members.Members
	nodes    *nodes.Nodes
	health   *health.Health
	net      hostnet.Net
	dirs     imagedirs.Dirs
	Ledger   *ledger.Ledger

	verified chan error // check begins to verify the bundle, open-bundle waits for it
}

// New prepares a run on the hosts of the cluster. It touches none.
func New(c *installer.Cluster, b *bundle.Reader, o Options, f fleet.Options) *Run {
	on := site.New(c, b, f)
	keeper := &secrets.Secrets{Site: on, State: o.State, CADir: o.CADir}
	members := members.Members{Site: on}
	r := &Run{
		Options: o, Site: on, secrets: keeper, members: members,
		registry: &hostregistry.Registry{Site: on, Secrets: keeper, State: o.State},
		nodes:    &nodes.Nodes{Site: on, Secrets: keeper, Members: members},
		health:   &health.Health{Site: on, Secrets: keeper},
		net:      hostnet.Net{Site: on}, dirs: imagedirs.Dirs{Site: on}, Ledger: ledger.New(on, o.State, o.Again),
	}
	keeper.HideGiven()
	return r
}

// Close takes away what hosts do not need of this run, gives back the cluster's
// lock and ends the connections to all hosts.
func (r *Run) Close() error {
	return errors.Join(r.Withdraw(context.Background()), r.Fleet.Close()) // for seconds at most
}

// CleanUp is what the engine calls when a step has failed: of a run that has not begun to change hosts, nothing stays there.
func (r *Run) CleanUp(ctx context.Context) error {
	if r.Ledger.Begun {
		return nil // those hosts are this run's now, and the next one goes on with them
	}
	return r.Withdraw(ctx)
}
