package steps

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/clean"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/health"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/hostregistry"
	"github.com/sealbuild/sealbuild/installer/imagedirs"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/nodes"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

// Options are the settings of a run. The run only reads them.
type Options struct {
	State *installer.State
	CADir string // authorities to take over, in the layout of /etc/kubernetes/pki; empty = made here
	Copy  bool   // send every blob to the registry hosts, known or not
	// IgnoreChecks are names out of [preflight.Checks]: their problems are warnings, and do not stop the run.
	IgnoreChecks []string
	// LeaveOut are addresses of hosts that a reset goes on without.
	LeaveOut []string
	// Absence says what is done about hosts that do not answer.
	Absence site.Absence
	// Exists says that the run is for a cluster that exists: it makes no new one.
	Exists bool
	// DrainTimeout is how long the pods of a host that leaves may take to move away.
	DrainTimeout time.Duration
	// Settings says what is done about settings that are in force otherwise than they are wanted.
	Settings settings.Wish
	// Confirm asks the operator before hosts leave; nil: nobody is asked.
	Confirm func([]leaving.Loss) error
	// Upgrade says that the run brings the cluster to what the bundle brings; ParallelNodes, how many workers at a time:
	// see [upgrade.AtOnce].
	Upgrade       bool
	ParallelNodes string
	Preview       bool // the run only looks
	// ConfirmUpgrade asks the operator before hosts are upgraded or go back, by what becomes of each; nil: nobody is asked.
	ConfirmUpgrade func([]string) error
	// Again makes the cluster anew from a record that only a master has; nil where that makes no difference.
	Again func(recorded *installer.Cluster) (*installer.Cluster, error)
}

// Run is one run of a pipeline: its options, its hosts, and the rooms that the steps work in.
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
	clean    *clean.Cleaner
	leaving  *leaving.Leaving
	settings *settings.Settings
	upgrade  *upgrade.Upgrade
	Ledger   *ledger.Ledger

	// mayHaveJoined tells that a host was not in the cluster when the run began, or that a run before was cut off: check writes
	// it, verify reads it.
	mayHaveJoined bool
	// brought tells that the registries have what the bundle brings: distribute-registry writes it, verify reads it.
	brought bool

	verified chan error // check begins to verify the bundle, open-bundle reads the outcome
}

// New prepares a run on the hosts of a cluster. It contacts none.
func New(c *installer.Cluster, b *bundle.Reader, o Options, f fleet.Options) *Run {
	on := site.New(c, b, f)
	on.Absence, on.Upgrades = o.Absence, o.Upgrade
	kept := &secrets.Secrets{Site: on, State: o.State, CADir: o.CADir}
	kept.HideGiven()
	members, net := members.Members{Site: on}, hostnet.Net{Site: on}
	nodes := &nodes.Nodes{Site: on, Secrets: kept, Members: members}
	recorded := ledger.New(on, o.State, o.Again)
	registry, dirs := &hostregistry.Registry{Site: on, Secrets: kept, State: o.State}, imagedirs.Dirs{Site: on}
	return &Run{
		Options: o, Site: on, secrets: kept, members: members,
		registry: registry,
		nodes:    nodes,
		clean:    &clean.Cleaner{Site: on, Nodes: nodes, Net: net}, leaving: &leaving.Leaving{Site: on, Members: members},
		health: &health.Health{Site: on, Secrets: kept},
		net:    net, dirs: dirs, Ledger: recorded,
		settings: &settings.Settings{Site: on, Wish: o.Settings, DrainTimeout: o.DrainTimeout, Recorded: recorded.DocumentsInForce},
		upgrade: &upgrade.Upgrade{
			Site: on, Members: members, Net: net, Dirs: dirs, Registry: registry, DrainTimeout: o.DrainTimeout, Parallel: o.ParallelNodes,
			IgnoreChecks: o.IgnoreChecks,
		},
	}
}

// TellEnd tells what is known of each host of a run, where it changed something or failed, every problem that it found, and how it
// has ended. log is the file that holds all of it, remedy what the operator does about err.
func TellEnd(ctx context.Context, r *Run, took time.Duration, changes int, log string, err error, remedy string) {
	if err != nil || changes > 0 {
		r.health.TellHosts(ctx, err == nil)
	}
	if pre, ok := errors.AsType[*preflight.Error](err); ok {
		for _, p := range slices.Concat(pre.Problems, pre.Warnings) {
			r.Report.Problem(p.Host, p.Check, p.Message, p.Remedy, !p.Warning)
		}
	}
	r.Report.Ends(took, changes, log, err, remedy)
}

// Close takes away from hosts what this run brought and nothing uses, gives back the cluster's lock, and ends the
// connections to all hosts.
func (r *Run) Close() error {
	return errors.Join(r.Withdraw(context.Background()), r.Fleet.Close()) // for seconds at most
}

// CleanUp is called by the engine when a step has failed. If the run has not begun to change hosts, it takes the stub away
// from them.
func (r *Run) CleanUp(ctx context.Context) error {
	if r.Ledger.Begun {
		return nil // the next run goes on with these hosts
	}
	return r.Withdraw(ctx)
}
