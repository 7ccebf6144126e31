package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// told is what the member of a master has told.
type told struct {
	ip  string
	of  etcd.Cluster
	err error // why it has told nothing
}

// own is the member itself, as it has told of itself.
func (m told) own() etcd.Member {
	for _, o := range m.of.Members {
		if o.Answers {
			return o
		}
	}
	return etcd.Member{}
}

const (
	etcdPatience = 15 * time.Second // for a member that holds an election just now
	// quotaShare is the part of etcd's quota, in percent, from which on there is no room for what an upgrade writes.
	quotaShare = 80
)

// askEtcd asks the member on each master that is reached, in their order. There is none where the operator brought an etcd.
func (c Compat) askEtcd(ctx context.Context) ([]told, error) {
	planes := c.ControlPlanes()
	if len(planes) == 0 {
		return nil, nil
	}
	if _, external, err := c.EtcdSettings(planes[0]); err != nil || external {
		return nil, err
	}
	room := members.Members{Site: c.Site}
	out := make([]told, len(planes))
	var all sync.WaitGroup
	for i, t := range planes {
		out[i].ip = t.IP.String()
		all.Go(func() {
			out[i].err = installer.Insist(ctx, min(etcdPatience, c.Timeout), func(ctx context.Context) (err error) {
				out[i].of, err = room.Own(ctx, t)
				return err
			})
		})
	}
	all.Wait()
	return out, nil
}

// etcdProblems are what is wrong with etcd: while one master after the other is upgraded, a member that is silent or has no vote
// is one too many.
func etcdProblems(all []told, masters []installer.Host) []preflight.Problem {
	var out []preflight.Problem
	add := func(ip, remedy, format string, args ...any) {
		out = append(out, preflight.Problem{Host: ip, Check: "etcd", Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	var list []etcd.Member
	leader, asked := false, false
	var alarms []string
	for _, m := range all {
		if m.err != nil {
			add(m.ip, "look at etcd there (crictl ps -a --name etcd, crictl logs)", "its member of etcd does not answer: %s", installer.TellAt(m.err, m.ip))
			continue
		}
		if !asked || m.of.Leader && !leader {
			list = m.of.Members // one that has a leader knows who left
		}
		asked, leader = true, leader || m.of.Leader
		own := m.own()
		alarms = append(alarms, own.Alarms...)
		quota := own.Quota
		if quota == 0 {
			quota = etcd.DefaultQuota
		}
		if quota > 0 && own.Size*100 >= quota*quotaShare {
			add(m.ip, "compact and defragment etcd, and find what fills it", "etcd's database is %s of the %s at which it refuses writes (%d %%)",
				preflight.Bytes(own.Size), preflight.Bytes(quota), own.Size*100/quota)
		}
	}
	if !asked {
		return out
	}
	if !leader {
		add("", "look at etcd on the masters (crictl ps -a --name etcd, crictl logs)", "etcd has no leader")
	}
	for _, m := range list {
		switch known := slices.ContainsFunc(masters, func(h installer.Host) bool { return m.At(h.IP.String()) }); {
		case !known:
			add("", "take it out with `sealinstall etcd remove --peer ADDRESS` on a master, or name the master that has it", "%s is a member of etcd, and no master of the cluster", m.Host())
		case !m.Started():
			add(m.Host(), "run the bundle that the cluster was made with once more", "its member of etcd was added and never started")
		case m.Learner:
			add(m.Host(), "wait until it has caught up, or run the bundle that the cluster was made with once more", "its member of etcd has no vote yet")
		}
	}
	for _, h := range masters {
		if !slices.ContainsFunc(list, func(m etcd.Member) bool { return m.At(h.IP.String()) }) {
			add(h.IP.String(), "run the bundle that the cluster was made with once more", "the master has no member of etcd")
		}
	}
	slices.Sort(alarms)
	if alarms = slices.Compact(alarms); len(alarms) > 0 {
		add("", "mend the cause (NOSPACE: compact and defragment), then disarm the alarm", "etcd has raised the alarm %s", strings.Join(alarms, ", "))
	}
	return out
}

// databaseOf is the size of etcd's database on a host in bytes; 0 if it is not known or there is none.
func databaseOf(all []told, t *fleet.Target) int64 {
	for _, m := range all {
		if m.ip == t.IP.String() {
			return m.own().Size
		}
	}
	return 0
}
