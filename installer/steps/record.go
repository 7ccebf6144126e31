package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// Files of the state directory that tell what was made.
const (
	// ClusterfileName is the cluster as the last run left it, or tries to make it.
	ClusterfileName = "Clusterfile"
	// LastClusterfileName is, while that is not finished, the cluster as the last run that was made it.
	LastClusterfileName = "Clusterfile.last"
)

// RecordOnMaster is the record of a cluster on each of its masters.
func RecordOnMaster(cluster string) string {
	return path.Join(installer.DataRoot, "data", cluster, ClusterfileName)
}

// begunRecord is what a run finds and writes before it changes the first host.
type begunRecord struct {
	begun    bool   // the record says that this run is at work
	finished []byte // the record before that, if it was of a finished cluster
}

// recordProgress says in the record that work is going on, before the first host
// is changed. A reset after a power cut then knows the hosts, and nobody who
// looks takes a cluster for finished that is being changed.
func (r *Run) recordProgress() error {
	old, err := r.readRecord()
	if err != nil {
		return err
	}
	if old.text != nil && old.cluster.Finished() {
		r.record.finished = old.text
		if err := r.State.Write(LastClusterfileName, 0o600, old.text); err != nil {
			return err
		}
	}
	s := r.status(nil)
	s.Phase, s.Conditions = installer.PhaseInProcess, nil
	data, err := r.clusterfile(s)
	if err != nil {
		return err
	}
	if err := r.State.Write(ClusterfileName, 0o600, data); err != nil {
		return err
	}
	r.record.begun = true
	return nil
}

// recordedFile is a record as it stands in the state directory; text is nil when there is none.
type recordedFile struct {
	text    []byte
	cluster *installer.Cluster
}

func (r *Run) readRecord() (recordedFile, error) {
	name := r.State.Path(ClusterfileName)
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
func (r *Run) Record(ctx context.Context, runErr error, changes int) error {
	if runErr != nil && !r.record.begun {
		return nil // no host was changed, so what is recorded is still true
	}
	data, err := r.clusterfile(r.status(runErr))
	if err != nil {
		return err
	}
	if runErr != nil {
		// Hosts may be out of reach; what is here tells enough to go on.
		return r.State.Write(ClusterfileName, 0o600, data)
	}
	if old := r.record.finished; old != nil && changes == 0 && bytes.Equal(timeless(old), timeless(data)) {
		data = old
	}
	if err := r.recordOnMasters(ctx, data); err != nil {
		return err
	}
	// Last: once success stands here, the next run takes the masters' files for written.
	if err := r.State.Write(ClusterfileName, 0o600, data); err != nil {
		return err
	}
	return r.State.Remove(LastClusterfileName)
}

// RecordSettings writes the settings of a cluster whose state is as it was: a
// run that changes certificates looks at no node and claims nothing of any.
func (r *Run) RecordSettings(ctx context.Context) error {
	if r.Cluster.Status.Phase == "" {
		return nil // nothing is recorded that could be changed
	}
	c := *r.Cluster
	c.Images = slices.Clone(c.Kept)
	data, err := c.Clusterfile(r.created, c.Status)
	if err != nil {
		return err
	}
	if err := r.recordOnMasters(ctx, data); err != nil {
		return err
	}
	return r.State.Write(ClusterfileName, 0o600, data)
}

func (r *Run) recordOnMasters(ctx context.Context, data []byte) error {
	return r.Each(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) error {
		_, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: RecordOnMaster(r.Cluster.Name), Mode: 0o600, Content: data}})
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

// clusterfile is the record: the cluster as it is wanted, with every cluster
// image that it has, those of earlier bundles included.
func (r *Run) clusterfile(s installer.Status) ([]byte, error) {
	made := *r.Cluster
	made.Images = slices.Clone(r.keptImages())
	for _, i := range r.Payload.Images {
		made.Images = append(made.Images, i.Name)
	}
	made.Note(r.Payload.Bundle.IndexDigest().String())
	// Not masked as a whole: it is read again, and "root" may be a password. Its
	// parts leave out secrets themselves.
	return made.Clusterfile(r.created, s)
}

// keptImages are the cluster's images that this run is not about.
func (r *Run) keptImages() []string {
	return slices.DeleteFunc(slices.Clone(r.Cluster.Kept), func(name string) bool {
		return slices.ContainsFunc(r.Payload.Images, func(i *payload.Image) bool { return i.Name == name })
	})
}

func (r *Run) status(runErr error) installer.Status {
	now := time.Now().UTC().Format(time.RFC3339)
	message := "every node is Ready"
	if away := r.Cluster.Away(); len(away) > 0 {
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
		s.Conditions = []installer.Condition{{Type: "ApplyClusterError", Status: "True", Reason: reason, Message: r.Report.Mask(installer.Tell(runErr)), LastHeartbeatTime: now}}
		var g *GuestError
		if errors.As(runErr, &g) {
			s.CommandConditions = []installer.Condition{{
				Type: "ApplyCommandError", Status: "True", Reason: "Failed", Message: r.Report.Mask(g.Error()), Images: []string{g.Image},
				LastHeartbeatTime: now,
			}}
		}
	}
	kept := r.keptImages()
	for _, m := range r.Cluster.Status.Mounts {
		if slices.Contains(kept, m.ImageName) {
			s.Mounts = append(s.Mounts, m)
		}
	}
	for _, i := range r.Payload.Images {
		s.Mounts = append(s.Mounts, installer.Mount{
			Name: payload.DirName(i.Name), Type: i.Type, ImageName: i.Name, MountPoint: i.Dir,
			Env: r.publicEnv(i.Env), Labels: i.Labels, Cmd: i.Cmd, Entrypoint: i.Entrypoint,
		})
	}
	return s
}

// publicEnv leaves out secrets, the image's public default password among
// them: it is not used, and a reader of the file would believe it were.
func (r *Run) publicEnv(env map[string]string) map[string]string {
	out := installer.MergeEnv(env)
	maps.DeleteFunc(out, r.Cluster.SecretEnv)
	return out
}

// mastersFile names, until there is a record, the masters that the secrets of the state directory were made for.
const mastersFile = "masters"

// ownState makes sure that the secrets in the state directory are of no other
// cluster than this one. Those of a cluster that was taken apart but for hosts
// that are gone are removed, and so are those of a run for other masters that
// was refused before it changed any.
func (r *Run) ownState() error {
	old, err := r.readRecord()
	if err != nil {
		return err
	}
	if old.text != nil && !old.cluster.Status.TakenApart() {
		return nil
	}
	stamp := r.created.UTC().Format("20060102T150405Z")
	if old.text != nil {
		r.Report.Infof("cluster %s was taken apart before, without hosts that were left out; what was recorded of it is now %s.%s, and this one gets an authority of its own", r.Cluster.Name, ClusterfileName, stamp)
		return r.putAside(stamp)
	}
	madeFor, err := os.ReadFile(r.State.Path(mastersFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the state: %w", err)
	}
	masters := r.Cluster.MasterIPs()
	ours := err != nil || slices.ContainsFunc(strings.Fields(string(madeFor)), func(ip string) bool { return slices.Contains(masters, ip) })
	if !ours {
		if err := r.putAside(stamp); err != nil {
			return err
		}
	}
	return r.State.Write(mastersFile, 0o600, []byte(strings.Join(masters, "\n")+"\n"))
}
