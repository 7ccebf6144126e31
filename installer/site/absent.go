package site

import (
	"context"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Absence says what a run does about hosts that do not answer.
type Absence struct {
	// GoOn says that the run goes on without recorded hosts that do not answer, as long as it is not about them.
	GoOn bool
	// Dead says that hosts which leave the cluster and do not answer never will.
	Dead bool
}

// leaveOut takes the hosts out of the run that it goes on without, with a warning for each, and gives the problems of the
// others. A host that leaves and does not answer is dead, or a problem of its own.
func leaveOut(st *Site, problems []preflight.Problem) []preflight.Problem {
	silent := func(t *fleet.Target) bool {
		return slices.ContainsFunc(problems, func(p preflight.Problem) bool { return p.Host == t.IP.String() && !p.Warning })
	}
	drop := func(t *fleet.Target) (said string) {
		problems = slices.DeleteFunc(problems, func(p preflight.Problem) bool {
			if p.Host != t.IP.String() || p.Warning {
				return false
			}
			said = p.Message
			return true
		})
		return said
	}
	for _, t := range st.Leaving {
		switch {
		case !silent(t):
		case st.Absence.Dead && !t.Connected:
			drop(t)
			t.Dead = true
		case !t.Connected:
			said := drop(t)
			problems = append(problems, preflight.Problem{
				Host: t.IP.String(), Check: "connect", Message: "it is to leave the cluster and does not answer: " + said,
				Remedy: "give it its power or network back; if it never comes back, see that it stays switched off, and run the same command with --dead",
			})
		default:
			said := drop(t)
			problems = append(problems, preflight.Problem{
				Host: t.IP.String(), Check: "connect", Message: "it is to leave the cluster and answers by half: " + said,
				Remedy: "mend it; if it is past mending, switch it off for good, and run the same command with --dead",
			})
		}
	}
	if !st.Absence.GoOn || !slices.ContainsFunc(st.Targets, func(t *fleet.Target) bool { return !silent(t) }) { // none is left to go on with
		return problems
	}
	var away []string
	for _, t := range st.Targets {
		if !t.Recorded.IsZero() && silent(t) {
			st.Report.Warnf("%s: it does not answer and is left out of this run; it lacks what is changed now until a later run reaches it: %s", t.IP, drop(t))
			away = append(away, t.IP.String())
		}
	}
	Without(st, away)
	return problems
}

// Without takes hosts out of the run. They stay in the cluster.
func Without(st *Site, away []string) {
	if len(away) == 0 || len(away) == len(st.Targets) {
		return
	}
	isAway := func(h installer.Host) bool { return slices.Contains(away, h.IP.String()) }
	c := *st.Cluster
	c.Hosts = slices.Clone(c.Hosts)
	for i := range c.Hosts {
		c.Hosts[i].Away = c.Hosts[i].Away || isAway(c.Hosts[i])
	}
	st.Cluster = &c
	st.Targets = fleet.Only(st.Targets, func(t *fleet.Target) bool { return !isAway(t.Host) })
}

// Bring takes hosts into the run that were not known to be in the cluster when it began: it reaches them, takes the locks of the
// masters among them, and looks at them.
func Bring(ctx context.Context, st *Site, hosts []installer.Host) []preflight.Problem {
	var fresh []*fleet.Target
	for _, h := range hosts {
		fresh = append(fresh, &fleet.Target{Host: h})
	}
	problems := st.ReachThese(ctx, fresh, st.Jobs)
	reached := fleet.Only(fresh, func(t *fleet.Target) bool { return t.Connected })
	st.Targets = append(st.Targets, fresh...)
	locked, held := st.LockThese(ctx, fresh) // whoever began at another master has the lock of that one
	if held {
		return append(problems, locked...)
	}
	unseen := st.LookAtHosts(ctx, reached)
	return leaveOut(st, slices.Concat(problems, unlocked(locked, unseen), unseen))
}
