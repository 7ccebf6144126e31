package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// ClusterfileName is the file of the state directory that tells what was made.
const ClusterfileName = "Clusterfile"

// verify waits until every node is Ready and the pods of kube-system run, ends
// what was only needed for joining, and writes the Clusterfile to every master.
func (r *Run) verify(ctx context.Context) (installer.Result, error) {
	if err := r.waitReady(ctx); err != nil {
		return installer.Result{}, err
	}
	vip, _, err := r.virtualServer()
	if err != nil {
		return installer.Result{}, err
	}
	err = r.each(ctx, r.nodes(), func(ctx context.Context, t *Target) error {
		if err := t.Agent.CareStop(ctx, careUnit); err != nil {
			return err
		}
		_, err := r.exec(ctx, t, "verify", stubPath, "care", "--check", "--vs", vip.String())
		return err
	})
	if err != nil {
		return installer.Result{}, fmt.Errorf("end the keeper that was used for joining: %w", err)
	}
	return installer.Result{Note: fmt.Sprintf("%d nodes Ready", len(r.Targets))}, nil
}

// Record writes the Clusterfile with a status that tells the truth about a run:
// runErr is why it failed, nil when it did not. A finished cluster's file is
// left as it is when nothing changed, and so is every file when the run failed
// before it changed a host: addresses that were refused are not the cluster's.
func (r *Run) Record(ctx context.Context, runErr error, changes int) error {
	if runErr != nil && !r.changing {
		// No host was changed, so what is recorded is still true. A run that
		// ended between two steps has not taken its stubs away yet.
		return r.withdraw(ctx)
	}
	if runErr == nil && changes == 0 {
		if old, err := os.ReadFile(r.State.Path(ClusterfileName)); err == nil && strings.Contains(string(old), "phase: "+installer.PhaseSuccess) {
			return nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	data, err := r.clusterfile(r.status(runErr))
	if err != nil {
		return err
	}
	if runErr == nil { // else hosts may be out of reach; what is here tells enough to go on
		err := r.each(ctx, r.masters(), func(ctx context.Context, t *Target) error {
			_, err := t.Agent.WriteFiles(ctx, []node.File{{Path: r.dir(ClusterfileName), Mode: 0o600, Content: data}})
			return err
		})
		if err != nil {
			return err
		}
	}
	// Last: once success stands here, the next run takes the masters' files for written.
	return r.State.Write(ClusterfileName, 0o600, data)
}

// recordProgress writes the Clusterfile of a cluster that is being made, so
// that a reset after a power cut knows its hosts.
func (r *Run) recordProgress() error {
	s := r.status(nil)
	s.Phase, s.Conditions = installer.PhaseInProcess, nil
	data, err := r.clusterfile(s)
	if err != nil {
		return err
	}
	r.changing = true
	return r.State.Write(ClusterfileName, 0o600, data)
}

func (r *Run) clusterfile(s installer.Status) ([]byte, error) {
	made := *r.Cluster
	for _, i := range r.images {
		if len(r.Cluster.Images) == 0 {
			made.Images = append(made.Images, i.Name)
		}
	}
	// Not masked as a whole: it is read again, and "root" may be a password. Its
	// parts leave out secrets themselves.
	return made.Clusterfile(r.created, s)
}

func (r *Run) status(runErr error) installer.Status {
	now := time.Now().UTC().Format(time.RFC3339)
	s := installer.Status{
		Phase:      installer.PhaseSuccess,
		Conditions: []installer.Condition{{Type: "ApplyClusterSuccess", Status: "True", Reason: "Ready", Message: "every node is Ready", LastHeartbeatTime: now}},
	}
	if runErr != nil {
		s.Phase = installer.PhaseFailed
		reason := "Failed"
		var step *installer.StepError
		if errors.As(runErr, &step) {
			reason = step.Step
		}
		s.Conditions = []installer.Condition{{Type: "ApplyClusterError", Status: "True", Reason: reason, Message: r.Report.Mask(runErr.Error()), LastHeartbeatTime: now}}
		var g *GuestError
		if errors.As(runErr, &g) {
			s.CommandConditions = []installer.Condition{{Type: "ApplyCommandError", Status: "True", Reason: "Failed", Message: r.Report.Mask(g.Error()), Images: []string{g.Image}, LastHeartbeatTime: now}}
		}
	}
	for _, i := range r.images {
		s.Mounts = append(s.Mounts, installer.Mount{
			Name: dirName(i.Name), Type: i.Type, ImageName: i.Name, MountPoint: i.dir,
			Env: publicEnv(i.Env), Labels: i.Labels, Cmd: i.Cmd, Entrypoint: i.Entrypoint,
		})
	}
	return s
}

// publicEnv leaves out secrets, the image's public default password among
// them: it is not used, and a reader of the file would believe it were.
func publicEnv(env map[string]string) map[string]string {
	out := installer.MergeEnv(env)
	maps.DeleteFunc(out, func(k, _ string) bool { return installer.SecretEnv(k) })
	return out
}
