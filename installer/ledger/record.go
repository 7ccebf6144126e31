// Package ledger is what is recorded of a cluster, on this machine and on its
// masters, and holds what is wanted against it before anything is changed.
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

// Files of the state directory that tell what was made.
const (
	// ClusterfileName is the cluster as the last run left it, or tries to make it.
	ClusterfileName = "Clusterfile"
	// LastClusterfileName is, while that is not finished, the cluster as the last run that was made it.
	LastClusterfileName = "Clusterfile.last"
)

// Ledger is what is recorded of a cluster, on this machine and on its masters, and holds what is wanted against it.
type Ledger struct {
	*site.Site
	State *installer.State
	// Again makes the cluster anew on the ground of a record that only a master has; nil where that makes no difference.
	Again func(recorded *installer.Cluster) (*installer.Cluster, error)

	created  time.Time
	Begun    bool   // the record says that this run is at work
	finished []byte // the record before that, if it was of a finished cluster
}

// New is the ledger of a run that begins now.
func New(on *site.Site, state *installer.State, again func(*installer.Cluster) (*installer.Cluster, error)) *Ledger {
	return &Ledger{Site: on, State: state, Again: again, created: time.Now()}
}

// RecordOnMaster is the record of a cluster on each of its masters.
func RecordOnMaster(cluster string) string {
	return path.Join(installer.DataRoot, "data", cluster, ClusterfileName)
}

// Begin says in the record that work is going on, before the first host
// is changed. A reset after a power cut then knows the hosts, and nobody who
// looks takes a cluster for finished that is being changed.
func (l *Ledger) Begin() error {
	old, err := l.readRecord()
	if err != nil {
		return err
	}
	if old.text != nil && old.cluster.Finished() {
		l.finished = old.text
		if err := l.State.Write(LastClusterfileName, 0o600, old.text); err != nil {
			return err
		}
	}
	s := l.Status(nil)
	s.Phase, s.Conditions = installer.PhaseInProcess, nil
	data, err := l.Clusterfile(s)
	if err != nil {
		return err
	}
	if err := l.State.Write(ClusterfileName, 0o600, data); err != nil {
		return err
	}
	l.Begun = true
	return nil
}

// recordedFile is a record as it stands in the state directory; text is nil when there is none.
type recordedFile struct {
	text    []byte
	cluster *installer.Cluster
}

func (l *Ledger) readRecord() (recordedFile, error) {
	name := l.State.Path(ClusterfileName)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return recordedFile{}, nil
	}
	if err != nil {
		return recordedFile{}, fmt.Errorf("read the record of the cluster: %w", err)
	}
	c, err := installer.ParseClusterfile(name, text)
	if err != nil {
		return recordedFile{}, fmt.Errorf("read the record of the cluster: %w", err)
	}
	return recordedFile{text, c}, nil
}

// Record writes the Clusterfile with a status that tells the truth about a run:
// runErr is why it failed, nil when it did not. What happened decides: a run
// that failed after it had begun to change hosts is recorded as failed, also on
// a cluster that was finished before; one that was refused before that leaves
// every file as it is. A finished cluster's file stays, byte for byte, when
// there is nothing new to say.
func (l *Ledger) Record(ctx context.Context, runErr error, changes int) error {
	if runErr != nil && !l.Begun {
		return nil // no host was changed, so what is recorded is still true
	}
	data, err := l.Clusterfile(l.Status(runErr))
	if err != nil {
		return err
	}
	if runErr != nil {
		// Hosts may be out of reach; what is here tells enough to go on.
		return l.State.Write(ClusterfileName, 0o600, data)
	}
	if old := l.finished; old != nil && changes == 0 && bytes.Equal(timeless(old), timeless(data)) {
		data = old
	}
	if err := l.recordOnMasters(ctx, data); err != nil {
		return err
	}
	// Last: once success stands here, the next run takes the masters' files for written.
	if err := l.State.Write(ClusterfileName, 0o600, data); err != nil {
		return err
	}
	return l.State.Remove(LastClusterfileName)
}

// RecordSettings writes the settings of a cluster whose state is as it was: a
// run that changes certificates looks at no node and claims nothing of any.
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

// timeless is a record without the moment in which it was written.
func timeless(record []byte) []byte {
	var out []byte
	for line := range bytes.Lines(record) {
		if !bytes.Contains(line, []byte("lastHeartbeatTime:")) {
			out = append(out, line...)
		}
	}
	return out
}

// Clusterfile is the record: the cluster as it is wanted, with every cluster
// image that it has, those of earlier bundles included.
func (l *Ledger) Clusterfile(s installer.Status) ([]byte, error) {
	made := *l.Cluster
	made.Images = slices.Clone(l.KeptImages())
	for _, i := range l.Payload.Images {
		made.Images = append(made.Images, i.Name)
	}
	made.Note(l.Payload.Bundle.IndexDigest().String())
	// Not masked as a whole: it is read again, and "root" may be a password. Its
	// parts leave out secrets themselves.
	return made.Clusterfile(l.created, s)
}

// Status is what the record says of a run that ended with runErr.
func (l *Ledger) Status(runErr error) installer.Status {
	now := time.Now().UTC().Format(time.RFC3339)
	message := "every node is Ready"
	if away := l.Cluster.Away(); len(away) > 0 {
		message = "the nodes of this run are Ready; not looked at: " + strings.Join(away, ", ")
	}
	s := installer.Status{
		Phase:      installer.PhaseSuccess,
		Conditions: []installer.Condition{{Type: "ApplyClusterSuccess", Status: "True", Reason: "Ready", Message: message, LastHeartbeatTime: now}},
	}
	if runErr != nil {
		s.Phase = installer.PhaseFailed
		reason := "Failed"
		var step *installer.StepError
		if errors.As(runErr, &step) {
			reason = step.Step
		}
		s.Conditions = []installer.Condition{{Type: "ApplyClusterError", Status: "True", Reason: reason, Message: l.Report.Mask(installer.Tell(runErr)), LastHeartbeatTime: now}}
		var g *installer.GuestError
		if errors.As(runErr, &g) {
			s.CommandConditions = []installer.Condition{{
				Type: "ApplyCommandError", Status: "True", Reason: "Failed", Message: l.Report.Mask(g.Error()), Images: []string{g.Image},
				LastHeartbeatTime: now,
			}}
		}
	}
	kept := l.KeptImages()
	for _, m := range l.Cluster.Status.Mounts {
		if slices.Contains(kept, m.ImageName) {
			s.Mounts = append(s.Mounts, m)
		}
	}
	for _, i := range l.Payload.Images {
		s.Mounts = append(s.Mounts, installer.Mount{
			Name: payload.DirName(i.Name), Type: i.Type, ImageName: i.Name, MountPoint: i.Dir,
			Env: l.Cluster.PublicEnv(i.Env), Labels: i.Labels, Cmd: i.Cmd, Entrypoint: i.Entrypoint,
		})
	}
	return s
}

// mastersFile names, until there is a record, the masters that the secrets of the state directory were made for.
const mastersFile = "masters"

// OwnState makes sure that the secrets in the state directory are of no other
// cluster than this one. Those of a cluster that was taken apart but for hosts
// that are gone are removed, and so are those of a run for other masters that
// was refused before it changed any.
func (l *Ledger) OwnState() error {
	old, err := l.readRecord()
	if err != nil {
		return err
	}
	if old.text != nil && !old.cluster.Status.TakenApart() {
		return nil
	}
	stamp := l.created.UTC().Format("20060102T150405Z")
	if old.text != nil {
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

// Forget moves the state of a cluster that is no more out of the way. Logs
// stay. A cluster of which hosts were left out stays recorded, with its
// secrets, until those are reset, too.
func (l *Ledger) Forget() error {
	if away := l.Cluster.Away(); len(away) > 0 {
		s := l.Cluster.Status
		s.Phase = installer.PhaseFailed
		s.Conditions = []installer.Condition{{
			Type: installer.LeftOut, Status: "True", Reason: "LeftOut", LastHeartbeatTime: time.Now().UTC().Format(time.RFC3339),
			Message: "the cluster was taken apart; not reset: " + strings.Join(away, ", "),
		}}
		data, err := l.Cluster.Clusterfile(l.created, s)
		if err != nil {
			return err
		}
		l.Report.Infof("%s: not reset; the cluster stays recorded in %s: when it can be reached again, run reset once more", installer.HostList(away), l.State.Dir)
		return errors.Join(l.State.Write(ClusterfileName, 0o600, data), l.State.Remove(LastClusterfileName))
	}
	return l.putAside(time.Now().UTC().Format("20060102T150405Z"))
}

// putAside renames the record, so that it can be read, and removes the secrets.
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

// ResetFile is the file of the state that names the hosts of a reset that was
// begun: one that is cut off after its last host must find that it was that one.
const ResetFile = "reset"
