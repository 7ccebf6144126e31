// Package members is how members of etcd come and go, with the data on their hosts. kubeadm finds the member of a host by
// its Node, and wipes the data even if there is no Node. So members are taken out here, before kubeadm runs.
package members

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Members are the members of etcd: one on each master, unless the operator has an etcd of their own.
type Members struct{ *site.Site }

// maxEtcdPatience is how long etcd may take to answer. On a host that boots, kubelet, the runtime and etcd need up to a
// minute to start, and etcd then waits for an election.
const maxEtcdPatience = 3 * time.Minute

// askPatience is how long etcd may take to answer before anything is changed: it may hold an election just now.
const askPatience = 15 * time.Second

func (e Members) patience() time.Duration { return min(maxEtcdPatience, e.Timeout) }

// beside are the other masters of the cluster. They can be asked about the member of t.
func (e Members) beside(t *fleet.Target) []*fleet.Target {
	return fleet.Only(e.Masters(), func(m *fleet.Target) bool { return m != t && m.Joined() })
}

// ask runs the stub's client of etcd on a master.
func (e Members) ask(ctx context.Context, t *fleet.Target, args ...string) (etcd.Cluster, error) {
	argv := append([]string{t.Stub, "etcd"}, args...)
	res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, TimeoutSeconds: 40}, nil)
	if err != nil {
		return etcd.Cluster{}, fmt.Errorf("ask etcd on %s: %w", t.IP, err)
	}
	if res.Code != 0 {
		return etcd.Cluster{}, &installer.CommandError{
			Host: t.IP.String(), Command: strings.Join(argv, " "), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5),
		}
	}
	var c etcd.Cluster
	if err := json.Unmarshal(res.Stdout, &c); err != nil {
		return c, fmt.Errorf("ask etcd on %s: decode its answer: %w", t.IP, err)
	}
	if len(c.Members) == 0 {
		return c, fmt.Errorf("ask etcd on %s: its list of members is empty", t.IP)
	}
	return c, nil
}

// Own asks the member of a master for the members as it knows them, and for its own state. It needs no majority.
func (e Members) Own(ctx context.Context, t *fleet.Target) (etcd.Cluster, error) {
	return e.ask(ctx, t, "own")
}

// askAny asks the etcd of one master after the other, until one does what args say.
func (e Members) askAny(ctx context.Context, masters []*fleet.Target, args ...string) (c etcd.Cluster, err error) {
	var errs []error
	for _, m := range masters {
		if c, err = e.ask(ctx, m, args...); err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// Leave takes the member of a master out of etcd, before anything is removed on that master. It asks the other masters for
// it. kubeadm takes a member out only where it finds the Node of the host, and wipes the data anyway: of two members, the
// other one then has no majority for ever.
func (e Members) Leave(ctx context.Context, t *fleet.Target, step string) error {
	others := e.beside(t)
	if !t.Master || len(others) == 0 {
		return nil // the last member goes with its host
	}
	if _, external, err := e.EtcdSettings(t); err == nil && external {
		return nil // where the documents cannot be read any more, the member is taken out all the same
	}
	started := false
	err := installer.Insist(ctx, e.patience(), func(ctx context.Context) error {
		_, err := e.askAny(ctx, others, "remove", "--peer", t.IP.String())
		if err == nil || started {
			return err
		}
		started = true // the others may need its vote to take it out
		return errors.Join(err, e.start(ctx, t, step))
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("take its member out of etcd: %w\n  Nothing on the host was removed. %s", err, e.remedy(ctx, t, others))
}

// start starts kubelet, and so etcd, on a host that has a manifest of etcd.
func (e Members) start(ctx context.Context, t *fleet.Target, step string) error {
	if t.EtcdManifest == "" {
		return nil
	}
	_, err := e.Exec(ctx, t, step, "systemctl", "start", "kubelet")
	return err
}

// remedy says what keeps etcd from changing its members, as far as these tell, and what to do.
func (e Members) remedy(ctx context.Context, t *fleet.Target, others []*fleet.Target) string {
	c, err := e.askAny(ctx, others, "members")
	if err != nil {
		var asked []string
		for _, t := range others {
			asked = append(asked, t.IP.String())
		}
		return fmt.Sprintf("No etcd answers on %s: look at `crictl ps -a --name etcd` and `journalctl -u kubelet` there, then run the same command again.", strings.Join(asked, ", "))
	}
	var members, silent []string
	for _, m := range c.Members {
		members = append(members, m.Host())
		if !m.Learner && !m.Answers {
			silent = append(silent, m.Host()+" ("+m.Error+")")
		}
	}
	all, answer := c.Voters()
	if !c.Leader || answer <= all/2 {
		return fmt.Sprintf("etcd has no majority: %d of its %s %s, not %s. Start these, then run the same command again.", answer, count.Of(all, "voting member"), count.Word(all, "answers", "answer"), strings.Join(silent, ", "))
	}
	return "The members are " + strings.Join(members, ", ") + ". Mend what the cause names, then run the same command again."
}

// LeaveForReset takes the member of a master out of etcd before the master is reset. If etcd has no majority any more, or
// would lose it with this member, the master is reset all the same: the whole cluster is to go.
func (e Members) LeaveForReset(ctx context.Context, t *fleet.Target) error {
	// If an installation follows instead of the rest of this reset, it must not take the host for one of the cluster.
	if err := t.Journal.Drop(ctx, journal.KubeadmDone); err != nil {
		return err
	}
	lost, waits := e.isLost(ctx, t)
	if !lost || waits {
		err := e.Leave(ctx, t, "reset-kubernetes")
		if err == nil || ctx.Err() != nil {
			return err
		}
		if lost, _ = e.isLost(ctx, t); !lost {
			return err
		}
	}
	e.Report.Warnf("%s: etcd has no majority without it; it is reset all the same", t.IP)
	return nil
}

// isLost tells whether etcd has no majority, or would have none without the member of t: then keeping that member saves
// nothing. waits is true if this may pass: members do not answer whose hosts are reached, and these may have been switched
// on just now.
func (e Members) isLost(ctx context.Context, t *fleet.Target) (lost, waits bool) {
	beside := e.beside(t)
	if !t.Master || len(beside) == 0 {
		return false, false
	}
	c, err := e.askAny(ctx, beside, "members")
	if err != nil {
		return false, true
	}
	all, answer := c.Voters()
	if m, ok := c.Of(t.IP.String()); ok && m.Answers && !m.Learner {
		answer--
	}
	for _, m := range c.Members {
		waits = waits || !m.Answers && e.masterAt(m) != nil
	}
	return !c.Leader || all > 2 && answer <= (all-1)/2, waits
}
