// Package ledger is what is recorded of a cluster, on this machine and on its masters. It holds what is wanted against that
// before anything is changed.
package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Files of the state directory.
const (
	// ClusterfileName is the record: the cluster as the last run left it, or as the run at work is to make it.
	ClusterfileName = "Clusterfile" //docs:file here ~/.sealos/<cluster>/Clusterfile: the record: the cluster as it is, or as the run at work is to make it
	// LastClusterfileName is, while a run is at work, the record of the last run that ended well.
	LastClusterfileName = "Clusterfile.last" //docs:file here ~/.sealos/<cluster>/Clusterfile.last: the record of the last run that ended well, while another is at work
)

// Ledger writes and reads the record of a cluster.
type Ledger struct {
	*site.Site
	State *installer.State
	// Again makes the cluster anew from a record that only a master has; nil where that makes no difference.
	Again func(recorded *installer.Cluster) (*installer.Cluster, error)

	created  time.Time
	Begun    bool   // the record says that this run is at work
	finished []byte // the record before that, if it was of a finished cluster; else nil
	// WentBack says that all hosts run again what they ran before an upgrade: the record of before holds again.
	WentBack bool
	// UnderWay tells whether an upgrade to what the bundle brings was begun on hosts; nil for a run that may not do its work in the
	// midst of one. Compare asks it, and says in Midway whether there is one that has not come to its end.
	UnderWay func() (bool, error)
	Midway   bool
}

// New is the ledger of a run that begins now.
func New(on *site.Site, state *installer.State, again func(*installer.Cluster) (*installer.Cluster, error)) *Ledger {
	return &Ledger{Site: on, State: state, Again: again, created: time.Now()}
}

// RecordOnMaster is the path of a cluster's record on each of its masters.
func RecordOnMaster(cluster string) string {
	return path.Join(installer.DataRoot, "data", cluster, ClusterfileName) //docs:file masters /var/lib/sealos/data/<cluster>/Clusterfile: the record, without secrets
}

// Begin records that a run is at work, before it changes the first host. So a reset after a power cut knows the hosts, and
// nobody takes a cluster for finished that is being changed.
func (l *Ledger) Begin() error {
	old, of, err := l.readRecord()
	if err != nil {
		return err
	}
	if of != nil && of.Finished() {
		l.finished = old
		if err := l.State.Write(LastClusterfileName, 0o600, old); err != nil {
			return err
		}
	}
	s := l.Status(nil)
	s.Phase, s.Conditions = installer.PhaseInProcess, nil
	data, err := l.Clusterfile(s)
	if err != nil {
		return err
	}
	err = l.State.Write(ClusterfileName, 0o600, data)
	l.Begun = err == nil
	return err
}

// readRecord reads the record in the state directory, and what it describes; both are nil if there is none.
func (l *Ledger) readRecord() (text []byte, of *installer.Cluster, err error) {
	name := l.State.Path(ClusterfileName)
	text, err = os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil {
		of, err = installer.ParseClusterfile(name, text)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the record of the cluster: %w", err)
	}
	return text, of, nil
}

// DocumentsInForce are the operator's documents of the last run that is recorded here and came to its end; nil if there is none.
func (l *Ledger) DocumentsInForce() ([][]byte, error) {
	_, of, err := l.readRecord()
	if err != nil || of == nil {
		return nil, err
	}
	if !of.Finished() {
		name := l.State.Path(LastClusterfileName)
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err == nil {
			of, err = installer.ParseClusterfile(name, text)
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of the cluster: %w", err)
		}
	}
	return of.Kubeadm, nil
}

// Record writes the record at the end of a run; runErr says why the run failed, changes how much it changed. A run that
// failed after it had begun to change hosts is recorded as failed, even on a cluster that was finished before. A run that
// was refused before changes no file. The record of a finished cluster stays as it is, byte for byte, if there is nothing
// new to say.
func (l *Ledger) Record(ctx context.Context, runErr error, changes int) error {
	if runErr != nil && !l.Begun {
		return nil // no host was changed, so what is recorded is still true
	}
	switch {
	case runErr == nil && l.WentBack:
		return l.goBack(ctx)
	case runErr == nil && l.Midway:
		return l.recordLeft(ctx)
	}
	data, err := l.Clusterfile(l.Status(runErr))
	if err != nil {
		return err
	}
	if runErr != nil {
		// Hosts may be out of reach; the record on this machine is enough to go on.
		return l.State.Write(ClusterfileName, 0o600, data)
	}
	if old := l.finished; old != nil && changes == 0 && bytes.Equal(timeless(old), timeless(data)) {
		data = old
	}
	if err := l.recordOnMasters(ctx, data); err != nil {
		return err
	}
	// This machine comes last: once success is recorded here, the next run takes the masters' files for written.
	if err := l.State.Write(ClusterfileName, 0o600, data); err != nil {
		return err
	}
	return l.State.Remove(LastClusterfileName)
}

// goBack makes the record that masters have, which is of before the upgrade that was taken back, that of this machine again.
func (l *Ledger) goBack(ctx context.Context) error {
	for _, t := range l.ControlPlanes() {
		name := RecordOnMaster(l.Cluster.Name)
		found, err := t.Agent.ReadFiles(ctx, []string{name})
		if err != nil {
			return t.Failed(fmt.Errorf("read the record of the cluster: %w", err))
		}
		of, err := installer.ParseClusterfile(t.IP.String()+":"+name, found[name])
		if found[name] == nil || err != nil || l.Recorded == nil || !of.Status.WroteAt().Equal(l.Recorded.Status.WroteAt()) {
			continue
		}
		if err := l.State.Write(ClusterfileName, 0o600, found[name]); err != nil {
			return err
		}
		return l.State.Remove(LastClusterfileName)
	}
	return nil
}

// recordLeft takes the hosts that have left out of the record that masters have, which is of before the upgrade that is under way:
// it says what a host goes back to, until that has come to its end.
func (l *Ledger) recordLeft(ctx context.Context) error {
	made := *l.Recorded
	made.Hosts = l.staying(made.Hosts)
	made.NoteTakenOut(l.left())
	s := made.Status
	s.Conditions = condition("ApplyClusterSuccess", "Ready", "hosts were taken out; an upgrade is under way")
	data, err := made.Clusterfile(l.created, s)
	if err != nil {
		return err
	}
	if err := l.recordOnMasters(ctx, data); err != nil {
		return err
	}
	return errors.Join(l.State.Write(ClusterfileName, 0o600, data), l.State.Remove(LastClusterfileName))
}

// left are the hosts that this run has taken out, and whether they were dead.
func (l *Ledger) left() map[string]bool {
	out := map[string]bool{}
	for _, t := range l.Leaving {
		out[t.IP.String()] = t.Dead
	}
	return out
}

// RecordSettings writes the settings of a cluster and leaves its state as it was: a run that changes certificates looks at
// no Node, and says nothing of any.
func (l *Ledger) RecordSettings(ctx context.Context) error {
	if l.Cluster.Status.Phase == "" {
		return nil // nothing is recorded that could be changed
	}
	c := *l.Cluster
	c.Images = slices.Clone(c.Kept)
	data, err := c.Clusterfile(l.created, c.Status)
	if err != nil {
		return err
	}
	if err := l.recordOnMasters(ctx, data); err != nil {
		return err
	}
	return l.State.Write(ClusterfileName, 0o600, data)
}

func (l *Ledger) recordOnMasters(ctx context.Context, data []byte) error {
	return l.Each(ctx, l.Masters(), func(ctx context.Context, t *fleet.Target) error {
		_, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: RecordOnMaster(l.Cluster.Name), Mode: 0o600, Content: data}})
		return err
	})
}

// timeless is a record without the times at which it was written.
func timeless(record []byte) []byte {
	var out []byte
	for line := range bytes.Lines(record) {
		if !bytes.Contains(line, []byte("lastHeartbeatTime:")) {
			out = append(out, line...)
		}
	}
	return out
}

// Clusterfile is the record: the cluster that is wanted, with all cluster images that it has, those of earlier bundles
// included.
func (l *Ledger) Clusterfile(s installer.Status) ([]byte, error) {
	made := *l.Cluster
	made.Images = slices.Clone(l.KeptImages())
	for _, i := range l.Payload.Brought() {
		made.Images = append(made.Images, i.Name)
	}
	if s.Phase != installer.PhaseSuccess {
		made.Hosts = slices.Concat(made.Hosts, made.Leaving) // until the run that takes them out has come to its end
	}
	if s.Phase == installer.PhaseSuccess {
		made.NoteTakenOut(l.left())
	}
	if err := l.keepCommand(&made); err != nil {
		return nil, err
	}
	if of := l.Payload.Bundle.IndexDigest().String(); l.Upgrades && !l.Payload.Adds() {
		made.NoteOnly(of)
	} else {
		made.Note(of)
	}
	// The text is not masked as a whole: it is read again, and "root" may be a password. Its parts leave out secrets themselves.
	return made.Clusterfile(l.created, s)
}

// Status is what the record says of a run; runErr is why the run failed, nil if it did not.
func (l *Ledger) Status(runErr error) installer.Status {
	message := "every node is Ready"
	if away := l.Cluster.Away(); len(away) > 0 {
		message = "the nodes of this run are Ready; not looked at: " + strings.Join(away, ", ")
	}
	s := installer.Status{Phase: installer.PhaseSuccess, Conditions: condition("ApplyClusterSuccess", "Ready", message)}
	if runErr != nil {
		reason := "Failed"
		if step, ok := errors.AsType[*installer.StepError](runErr); ok {
			reason = step.Step
		}
		s = installer.Status{Phase: installer.PhaseFailed, Conditions: condition("ApplyClusterError", reason, l.Report.Mask(installer.Tell(runErr)))}
		if g, ok := errors.AsType[*installer.GuestError](runErr); ok {
			s.CommandConditions = condition("ApplyCommandError", "Failed", l.Report.Mask(g.Error()), g.Image)
		}
	}
	kept := l.KeptImages()
	for _, m := range l.Cluster.Status.Mounts {
		if slices.Contains(kept, m.ImageName) {
			s.Mounts = append(s.Mounts, m)
		}
	}
	for _, i := range l.Payload.Brought() {
		s.Mounts = append(s.Mounts, installer.Mount{
			Name: payload.DirName(i.Name), Type: i.Type, ImageName: i.Name, MountPoint: i.Dir,
			Env: l.Cluster.PublicEnv(i.Env), Labels: i.Labels, Cmd: i.Cmd, Entrypoint: i.Entrypoint,
		})
	}
	return s
}

// condition is the one condition of a status, as of now.
func condition(kind, reason, message string, images ...string) []installer.Condition {
	return []installer.Condition{{
		Type: kind, Status: "True", Reason: reason, Message: message, Images: images, LastHeartbeatTime: time.Now().UTC().Format(time.RFC3339),
	}}
}

// mastersFile names the masters that the secrets of the state directory were made for, until there is a record.
const mastersFile = "masters"

// OwnState makes sure that the secrets in the state directory are this cluster's. It removes those of a cluster that was
// reset without some hosts, and those of a run for other masters that was refused before it changed any.
func (l *Ledger) OwnState() error {
	_, old, err := l.readRecord()
	if err != nil {
		return err
	}
	if old != nil && !old.Status.TakenApart() {
		return nil
	}
	stamp := l.created.UTC().Format(stampForm)
	if old != nil {
		l.Report.Infof("cluster %s was taken apart before, without hosts that were left out; what was recorded of it is now %s.%s, and this one gets an authority of its own", l.Cluster.Name, ClusterfileName, stamp)
		return l.putAside(stamp)
	}
	madeFor, err := os.ReadFile(l.State.Path(mastersFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the state: %w", err)
	}
	masters := l.Cluster.MasterIPs()
	ours := err != nil || slices.ContainsFunc(strings.Fields(string(madeFor)), func(ip string) bool { return slices.Contains(masters, ip) })
	if !ours {
		if err := l.putAside(stamp); err != nil {
			return err
		}
	}
	return l.State.Write(mastersFile, 0o600, []byte(strings.Join(masters, "\n")+"\n"))
}

// Forget puts the record of a cluster aside that was reset, and removes its secrets. Logs stay. If hosts were left out, the
// cluster stays recorded, with its secrets, until they are reset, too.
func (l *Ledger) Forget() error {
	if away := l.Cluster.Away(); len(away) > 0 {
		s := l.Cluster.Status
		s.Phase = installer.PhaseFailed
		s.Conditions = condition(installer.LeftOut, "LeftOut", "the cluster was taken apart; not reset: "+strings.Join(away, ", "))
		data, err := l.Cluster.Clusterfile(l.created, s)
		if err != nil {
			return err
		}
		l.Report.Infof("%s: not reset; the cluster stays recorded in %s: when it can be reached again, run reset once more", installer.HostList(away), l.State.Dir)
		return errors.Join(l.State.Write(ClusterfileName, 0o600, data), l.State.Remove(LastClusterfileName))
	}
	return l.putAside(time.Now().UTC().Format(stampForm))
}

// stampForm is the form of the time in the names of records that were put aside.
const stampForm = "20060102T150405Z"

// putAside renames the record, so that it can still be read, and removes the secrets.
func (l *Ledger) putAside(stamp string) error {
	var errs []error
	for _, name := range []string{ClusterfileName, LastClusterfileName} {
		if err := durable.Rename(l.State.Path(name), l.State.Path(name+"."+stamp)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, name := range append(secrets.StateFiles(), ResetFile) {
		errs = append(errs, os.RemoveAll(l.State.Path(name)))
	}
	return errors.Join(errs...)
}

// ResetFile is the file of the state that names the hosts of a reset that was begun. A reset that is cut off after its last
// host, and run again, finds by it that the hosts are done.
const ResetFile = "reset"

// ResetHosts are the addresses of the hosts of this run, a line each, as [ResetFile] holds them.
func (l *Ledger) ResetHosts() string {
	var b strings.Builder
	for _, t := range l.Targets {
		fmt.Fprintln(&b, t.IP)
	}
	return b.String()
}

// ResetBegun tells whether a reset of exactly these hosts was begun from this machine.
func (l *Ledger) ResetBegun() (bool, error) {
	hosts, err := os.ReadFile(l.State.Path(ResetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && string(hosts) == l.ResetHosts(), err
}
