package steps

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

// warnOfScripts tells of labels that are not run.
func (r *Run) warnOfScripts() {
	for _, i := range r.Payload.Images {
		for _, key := range payload.Scripts() {
			if _, has := i.Labels[key]; has && i.Type == installer.TypeApplication {
				r.Report.Warnf("%s is an application: its label %s is not run", i.Name, key)
			}
		}
	}
}

// connectAll reaches all hosts and reads their facts.
func (r *Run) connectAll(ctx context.Context) []preflight.Problem {
	problems := r.Reach(ctx, r.Jobs)
	// Before anything is read that another installer may be changing.
	locked, held := r.LockMasters(ctx)
	if held {
		return append(problems, locked...)
	}
	unseen := r.lookAtHosts(ctx)
	if len(unseen) > 0 {
		locked = nil // whatever keeps a host from being looked at kept it from being locked
	}
	return slices.Concat(problems, locked, unseen)
}

// lookAtHosts reads facts and marks of all hosts that are reached.
func (r *Run) lookAtHosts(ctx context.Context) []preflight.Problem {
	asked := r.NetworksToAsk() // before hosts tell what the documents depend on
	reached := slices.DeleteFunc(slices.Clone(r.Targets), func(t *fleet.Target) bool { return !t.Connected })
	return preflight.From(r.Each(ctx, reached, func(ctx context.Context, t *fleet.Target) error {
		ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the host took longer than %s (--timeout); does its sshd allow several sessions on a connection (MaxSessions)?", r.Timeout))
		defer cancel()
		return r.look(ctx, t, asked)
	}), "connect")
}

// look reads facts and marks.
func (r *Run) look(ctx context.Context, t *fleet.Target, networks []string) error {
	if err := r.readMarks(ctx, t); err != nil {
		return err
	}
	measured := ""
	if t.Master && !t.Begun() {
		measured = r.PlacesOf(t).Etcd // on a disk that nobody uses for this yet
	}
	sent := time.Now()
	life := r.LifeRequest(t)
	f, err := t.Agent.Facts(ctx, agent.FactsRequest{
		Modules: append(preflight.Modules(), "ip_vs", "ip_vs_rr"),
		Tools:   append(preflight.Tools(), "modprobe", "apparmor_parser"),
		Paths:   append(r.PlacesOf(t).All(), r.PlacesOf(t).Program()), Networks: networks,
		Sync: measured, Ports: preflight.Ports(t.Master, r.RegistryPort()),
		Sockets: life.Sockets, Programs: life.Programs, Lock: r.LockPath(),
		Dirs: r.DirsToLookAt(),
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

func (r *Run) readMarks(ctx context.Context, t *fleet.Target) error {
	found, err := t.Journal.Read(ctx, r.allMarks(), etcdFiles()...)
	if err != nil {
		return err
	}
	t.EtcdManifest = manifestDataDir(found[etcdManifest])
	t.WorkedBefore = t.Journal.Has(journal.Init) || t.Journal.Has(journal.Registry) || t.Journal.Has(journal.KubeadmBegun)
	return nil
}

func (r *Run) allMarks() []string {
	marks := journal.Marks()
	for _, i := range r.Payload.Images {
		marks = append(marks, journal.Guest(i.DirName()))
	}
	return marks
}
