package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Load begins every pipeline: it settles the architecture, and reads the images and their small files. It asks a host only
// if the bundle is for several architectures.
func (st *Site) Load(ctx context.Context) error {
	if err := st.SettleArch(ctx); err != nil {
		return err
	}
	return st.Read(ctx)
}

// Read reads the images and their small files, and judges the addresses that they ask for.
func (st *Site) Read(ctx context.Context) error {
	if err := st.Payload.Load(ctx, st.Cluster); err != nil {
		if lacks, ok := errors.AsType[*payload.NoRootfsError](err); ok {
			return &preflight.Error{Problems: []preflight.Problem{{Check: "rootfs", Message: lacks.Message, Remedy: lacks.Remedy}}}
		}
		return err
	}
	return st.checkNetworks()
}

// WarnOfScripts warns of labels that name scripts and are not run.
func (st *Site) WarnOfScripts() {
	for _, i := range st.Payload.Images {
		for _, key := range payload.Scripts() {
			if _, has := i.Labels[key]; has && i.Type == installer.TypeApplication {
				st.Report.Warnf("%s is an application: its label %s is not run", i.Name, key)
			}
		}
	}
}

// Open connects to all hosts, takes the lock, and reads facts and journals. It leaves those that cannot be read out, with a
// problem each.
func (st *Site) Open(ctx context.Context) []preflight.Problem {
	problems := st.Reach(ctx, st.Jobs)
	// The lock comes before anything is read that another installer may be changing.
	locked, held := st.LockMasters(ctx)
	if held {
		return append(problems, locked...)
	}
	unseen := st.LookAtHosts(ctx, fleet.Only(st.All(), func(t *fleet.Target) bool { return t.Connected }))
	return leaveOut(st, slices.Concat(problems, unlocked(locked, unseen), unseen))
}

// unlocked are the problems with locks, without those of hosts that could not be looked at: what kept them from being locked kept
// them from that, too.
func unlocked(locked, unseen []preflight.Problem) []preflight.Problem {
	return slices.DeleteFunc(locked, func(l preflight.Problem) bool {
		return slices.ContainsFunc(unseen, func(u preflight.Problem) bool { return u.Host == l.Host })
	})
}

// LookAtHosts reads facts and journals of hosts that are reached.
func (st *Site) LookAtHosts(ctx context.Context, reached []*fleet.Target) []preflight.Problem {
	asked := st.NetworksToAsk() // before facts of hosts change what the documents say
	return preflight.From(st.Each(ctx, reached, func(ctx context.Context, t *fleet.Target) error {
		ctx, cancel := context.WithTimeoutCause(ctx, st.Timeout, fmt.Errorf("the host took longer than %s (--timeout); does its sshd allow several sessions on a connection (MaxSessions)?", st.Timeout))
		defer cancel()
		return st.look(ctx, t, asked)
	}), "connect")
}

// look reads the journal and the facts of a host. networks are those to which it is asked for a route.
func (st *Site) look(ctx context.Context, t *fleet.Target, networks []string) error {
	if err := st.readMarks(ctx, t); err != nil {
		return err
	}
	measured := ""
	if t.Master && !t.Begun() {
		measured = st.PlacesOf(t).Etcd // how fast its disk syncs is measured only while no etcd uses it
	}
	sent := time.Now()
	life := st.LifeRequest(t)
	f, err := t.Agent.Facts(ctx, agent.FactsRequest{
		Modules: append(preflight.Modules(), "ip_vs", "ip_vs_rr"),
		Tools:   append(preflight.Tools(), "modprobe", "apparmor_parser"),
		Paths:   append(st.PlacesOf(t).All(), st.PlacesOf(t).Program()), Networks: networks,
		Sync: measured, Ports: preflight.Ports(t.Master, st.RegistryPort()),
		Sockets: life.Sockets, Programs: life.Programs, Lock: st.LockPath(),
		Dirs: st.dirsToLookAt(),
	})
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	// The host is taken to have read its clock in the middle between question and answer.
	t.Skew = time.Unix(0, f.UnixNano).Sub(sent.Add(time.Since(sent) / 2))
	t.Facts = f
	t.Looked = true
	return nil
}

// readMarks reads the journal of a host, and where the manifest of its etcd has the data.
func (st *Site) readMarks(ctx context.Context, t *fleet.Target) error {
	found, err := t.Journal.Read(ctx, st.Marks(), EtcdManifest)
	if err != nil {
		return err
	}
	t.EtcdManifest = ManifestDataDir(found[EtcdManifest])
	t.WorkedBefore = t.Journal.Has(journal.Init) || t.Journal.Has(journal.Registry) || t.Journal.Has(journal.KubeadmBegun)
	return nil
}

// Marks are the names of all marks that a host may have with the images of the payload.
func (st *Site) Marks() []string {
	marks := journal.Marks()
	for _, i := range st.Payload.Images {
		marks = append(marks, journal.Guest(i.DirName()))
	}
	return marks
}
