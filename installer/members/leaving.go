package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// LeaveOrder are the hosts that leave the cluster, in the order in which they do: dead masters, so that etcd counts on them no
// longer, then the others from the last to the first.
func LeaveOrder(leaving []*fleet.Target) []*fleet.Target {
	masters := fleet.Only(leaving, func(t *fleet.Target) bool { return t.Master })
	slices.Reverse(masters)
	return slices.Concat(
		fleet.Only(masters, func(t *fleet.Target) bool { return t.Dead }),
		fleet.Only(masters, func(t *fleet.Target) bool { return !t.Dead }),
		fleet.Only(leaving, func(t *fleet.Target) bool { return !t.Master }),
	)
}

// CanLeave gives a problem if etcd would lose its majority while the members of the hosts leave that are to leave, one after
// the other. The masters that stay are asked.
func (e Members) CanLeave(ctx context.Context) []preflight.Problem {
	going := fleet.Only(LeaveOrder(e.Leaving), func(t *fleet.Target) bool { return t.Master })
	stay := e.ControlPlanes()
	if len(going) == 0 || len(stay) == 0 {
		return nil
	}
	if _, external, err := e.EtcdSettings(stay[0]); err == nil && external {
		return nil
	}
	var c etcd.Cluster
	err := installer.Insist(ctx, min(askPatience, e.Timeout), func(ctx context.Context) (err error) {
		c, err = e.askAny(ctx, stay, "members")
		return err
	})
	if err != nil {
		return []preflight.Problem{{Check: "etcd", Message: "no etcd answers on the masters that stay: " + installer.Tell(err), Remedy: "look at `crictl ps -a --name etcd` and `journalctl -u kubelet` there"}}
	}
	problems := loses(c, going)
	if len(problems) == 0 || !e.awaits(c) {
		return problems
	}
	e.Report.Infof("etcd does not answer on every master that is reached; it gets up to %s, as hosts need that have just booted", e.patience())
	_ = installer.Insist(ctx, e.patience(), func(ctx context.Context) error { // what is the matter at its end is told
		now, err := e.askAny(ctx, stay, "members")
		if err != nil {
			return err
		}
		if problems = loses(now, going); len(problems) > 0 && e.awaits(now) {
			return errors.New("etcd does not answer on every master yet")
		}
		return nil
	})
	return problems
}

// awaits tells whether members may yet answer: they are of hosts that are reached, which may have been switched on just now.
func (e Members) awaits(c etcd.Cluster) bool {
	return slices.ContainsFunc(c.Members, func(m etcd.Member) bool {
		reached := func(t *fleet.Target) bool { return t.Connected && m.At(t.IP.String()) }
		return !m.Learner && !m.Answers && slices.ContainsFunc(e.All(), reached)
	})
}

// loses gives a problem if etcd has no majority, or would have none, before or after the member of one of the hosts has left.
func loses(c etcd.Cluster, going []*fleet.Target) []preflight.Problem {
	var silent []string
	for _, m := range c.Members {
		if !m.Learner && !m.Answers {
			silent = append(silent, m.Host())
		}
	}
	for _, t := range going {
		before, answer := c.Voters()
		m, there := c.Of(t.IP.String())
		if !there {
			continue
		}
		if !c.Leader || answer <= before/2 {
			return []preflight.Problem{{
				Check: "etcd", Message: fmt.Sprintf("etcd has no majority: %d of its %s %s, not %s; so it can change nothing", answer, count.Of(before, "voting member"), count.Word(before, "answers", "answer"), strings.Join(silent, ", ")),
				Remedy: "give these hosts their power or network back first; a majority of masters that is lost for ever is not a case for `delete`",
			}}
		}
		if t.Dead && m.Answers {
			return []preflight.Problem{{
				Host: t.IP.String(), Check: "etcd", Message: "its member of etcd answers the other masters, so the host is not dead: only this machine does not reach it",
				Remedy: "give this machine a way to it, and leave --dead out; or switch the host off first",
			}}
		}
		c = c.Without(t.IP.String())
		if after, answer := c.Voters(); answer <= after/2 {
			dead := slices.DeleteFunc(silent, func(ip string) bool { return ip == t.IP.String() })
			return []preflight.Problem{{
				Host: t.IP.String(), Check: "etcd",
				Message: fmt.Sprintf("etcd would lose its majority with it: then %d of %s %s, and %s does not", answer, count.Of(after, "voting member"), count.Word(after, "answers", "answer"), strings.Join(dead, ", ")),
				Remedy:  fmt.Sprintf("give %s its power back, or take it out first: sealinstall delete --dead --masters %s", strings.Join(dead, ", "), strings.Join(dead, ",")),
			}}
		}
	}
	return nil
}

// TakeOut takes the member of a host that is switched off for good out of etcd.
func (e Members) TakeOut(ctx context.Context, t *fleet.Target) error {
	stay := e.ControlPlanes()
	if _, external, err := e.EtcdSettings(stay[0]); !t.Master || err == nil && external {
		return nil
	}
	err := installer.Insist(ctx, e.patience(), func(ctx context.Context) error {
		_, err := e.askAny(ctx, stay, "remove", "--peer", t.IP.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("take its member out of etcd: %w\n  %s", err, e.remedy(ctx, t, stay))
	}
	return nil
}
