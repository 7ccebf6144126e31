package site

import (
	"context"
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

// WarnOfScripts tells of labels that are not run.
func (st *Site) WarnOfScripts() {
	for _, i := range st.Payload.Images {
		for _, key := range payload.Scripts() {
			if _, has := i.Labels[key]; has && i.Type == installer.TypeApplication {
				st.Report.Warnf("%s is an application: its label %s is not run", i.Name, key)
			}
		}
	}
}

// Open reaches all hosts and reads their facts.
func (st *Site) Open(ctx context.Context) []preflight.Problem {
	problems := st.Reach(ctx, st.Jobs)
	// Before anything is read that another installer may be changing.
	locked, held := st.LockMasters(ctx)
	if held {
		return append(problems, locked...)
	}
	unseen := st.LookAtHosts(ctx)
	if len(unseen) > 0 {
		locked = nil // whatever keeps a host from being looked at kept it from being locked
	}
	return slices.Concat(problems, locked, unseen)
}

// LookAtHosts reads facts and marks of all hosts that are reached.
func (st *Site) LookAtHosts(ctx context.Context) []preflight.Problem {
	asked := st.NetworksToAsk() // before hosts tell what the documents depend on
	reached := slices.DeleteFunc(slices.Clone(st.Targets), func(t *fleet.Target) bool { return !t.Connected })
	return preflight.From(st.Each(ctx, reached, func(ctx context.Context, t *fleet.Target) error {
		ctx, cancel := context.WithTimeoutCause(ctx, st.Timeout, fmt.Errorf("the host took longer than %s (--timeout); does its sshd allow several sessions on a connection (MaxSessions)?", st.Timeout))
		defer cancel()
		return st.look(ctx, t, asked)
	}), "connect")
}

// look reads facts and marks.
func (st *Site) look(ctx context.Context, t *fleet.Target, networks []string) error {
	if err := st.readMarks(ctx, t); err != nil {
		return err
	}
	measured := ""
	if t.Master && !t.Begun() {
		measured = st.PlacesOf(t).Etcd // on a disk that nobody uses for this yet
	}
	sent := time.Now()
	life := st.LifeRequest(t)
	f, err := t.Agent.Facts(ctx, agent.FactsRequest{
		Modules: append(preflight.Modules(), "ip_vs", "ip_vs_rr"),
		Tools:   append(preflight.Tools(), "modprobe", "apparmor_parser"),
		Paths:   append(st.PlacesOf(t).All(), st.PlacesOf(t).Program()), Networks: networks,
		Sync: measured, Ports: preflight.Ports(t.Master, st.RegistryPort()),
		Sockets: life.Sockets, Programs: life.Programs, Lock: st.LockPath(),
		Dirs: st.DirsToLookAt(),
	})
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	// Half the round trip is the best guess of when the host read its clock.
	t.Skew = time.Unix(0, f.UnixNano).Sub(sent.Add(time.Since(sent) / 2))
	t.Facts = f
	t.Looked = true
	return nil
}

func (st *Site) readMarks(ctx context.Context, t *fleet.Target) error {
	found, err := t.Journal.Read(ctx, st.Marks(), EtcdFiles()...)
	if err != nil {
		return err
	}
	t.EtcdManifest = ManifestDataDir(found[EtcdManifest])
	t.WorkedBefore = t.Journal.Has(journal.Init) || t.Journal.Has(journal.Registry) || t.Journal.Has(journal.KubeadmBegun)
	return nil
}

// Marks are all marks that a host may have with the images of the payload.
func (st *Site) Marks() []string {
	marks := journal.Marks()
	for _, i := range st.Payload.Images {
		marks = append(marks, journal.Guest(i.DirName()))
	}
	return marks
}
