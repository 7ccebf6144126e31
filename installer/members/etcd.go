// Package members is how members of etcd come and go, with the data that lie on
// their hosts. kubeadm finds its member by the host's Node, and wipes data without
// it; so this is done here, and before kubeadm.
package members

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Members are the members of etcd, one on each master of a cluster that has not an etcd of the operator's own.
type Members struct{ *site.Site }

// maxEtcdPatience is how long etcd may take to answer: a machine that boots needs up to a minute until kubelet, the
// runtime and etcd are up, and etcd then waits for an election.
const maxEtcdPatience = 3 * time.Minute

func (e Members) patience() time.Duration { return min(maxEtcdPatience, e.Timeout) }

// beside are the masters of the cluster whose etcd may be asked about that of t.
func (e Members) beside(t *fleet.Target) []*fleet.Target {
	return slices.DeleteFunc(e.Masters(), func(m *fleet.Target) bool { return m == t || !m.Joined() })
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

// askAny asks the etcd of masters, in turn, until one does as asked.
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

// Leave takes the member of a master out of etcd, asked for at the others, before anything is removed on that
// master. kubeadm does it only where it finds the host's Node, and goes on to wipe the data if not: with two members,
// the other one then has no majority for ever.
func (e Members) Leave(ctx context.Context, t *fleet.Target, step string) error {
	others := e.beside(t)
	if !t.Master || len(others) == 0 {
		return nil // the last one takes its etcd with it
	}
	if _, external, err := e.EtcdSettings(t); err == nil && external {
		return nil // documents that cannot be read any more are no reason to leave a member behind
	}
	started := false
	err := installer.Insist(ctx, e.patience(), func(ctx context.Context) error {
		_, err := e.askAny(ctx, others, "remove", "--peer", t.IP.String())
		if err == nil || started {
			return err
		}
		// Maybe its vote is needed for that.
		started = true
		return errors.Join(err, e.start(ctx, t, step))
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("take its member out of etcd: %w\n  Nothing on the host was removed. %s", err, e.remedy(ctx, t, others))
}

// start starts what runs etcd on a host, if its manifest is there.
func (e Members) start(ctx context.Context, t *fleet.Target, step string) error {
	if t.EtcdManifest == "" {
		return nil
	}
	_, err := e.Exec(ctx, t, step, "systemctl", "start", "kubelet")
	return err
}

// remedy says what keeps etcd from dropping a member, as far as its members tell.
func (e Members) remedy(ctx context.Context, t *fleet.Target, others []*fleet.Target) string {
	c, err := e.askAny(ctx, others, "members")
	if err != nil {
		return fmt.Sprintf("No etcd answers on %s: look at `crictl ps -a --name etcd` and `journalctl -u kubelet` there, then run the same command again.", names(others))
	}
	all, answer := c.Voters()
	if !c.Leader || answer <= all/2 {
		return fmt.Sprintf("etcd has no majority: %d of its %d voting members answer, not %s. Start these, then run the same command again.", answer, all, silent(c))
	}
	return "The members are " + memberList(c) + ". Mend what the cause names, then run the same command again."
}

func names(targets []*fleet.Target) string {
	var out []string
	for _, t := range targets {
		out = append(out, t.IP.String())
	}
	return strings.Join(out, ", ")
}

func silent(c etcd.Cluster) string {
	var out []string
	for _, m := range c.Members {
		if !m.Learner && !m.Answers {
			out = append(out, m.Host()+" ("+m.Error+")")
		}
	}
	return strings.Join(out, ", ")
}

func memberList(c etcd.Cluster) string {
	var out []string
	for _, m := range c.Members {
		out = append(out, m.Host())
	}
	return strings.Join(out, ", ")
}

// LeaveForReset takes a master out of etcd before it is reset. Where etcd has no majority any more, or cannot lose one
// more member, nothing is saved by waiting: all of the cluster is to go.
func (e Members) LeaveForReset(ctx context.Context, t *fleet.Target) error {
	// An installation that follows instead of the rest of this reset must not take it for a part of the cluster.
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

// isLost tells whether etcd has no majority without the member of t, or none at all: then nothing is saved by keeping
// it. waits tells that this may pass, as members of hosts that are reached do not answer: they may have been switched on
// just now.
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
