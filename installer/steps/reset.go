package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// connectForReset reaches every host. Nothing is judged: hosts that a failed
// installation left behind are what a reset is for.
func (r *Run) connectForReset(ctx context.Context) (installer.Result, error) {
	if err := r.loadImages(); err != nil {
		return installer.Result{}, err
	}
	if err := r.readFiles(ctx); err != nil {
		return installer.Result{}, err
	}
	if problems := r.connectAll(ctx); len(problems) > 0 {
		return installer.Result{}, errors.Join(&PreflightError{Problems: problems}, r.withdraw(ctx))
	}
	if err := r.loadSecrets(ctx); err != nil {
		return installer.Result{}, err
	}
	ours := 0
	for _, t := range r.Targets {
		if t.begun() {
			ours++
			continue
		}
		r.Report.Warnf("%s: cluster %s was never begun there; the host is left as it is", t.IP, r.Cluster.Name)
	}
	if ours == 0 {
		return installer.Result{}, errors.Join(fmt.Errorf("none of the hosts belongs to cluster %s: nothing was done (name its hosts with --masters and --nodes)", r.Cluster.Name), r.withdraw(ctx))
	}
	return installer.Result{Note: fmt.Sprintf("%d hosts", len(r.Targets))}, nil
}

// resetKubernetes runs kubeadm reset on nodes, then on masters from the last
// to the first, so that etcd shrinks in an orderly way.
func (r *Run) resetKubernetes(ctx context.Context) (installer.Result, error) {
	changes := 0
	reset := func(ctx context.Context, t *Target) error {
		if t.marks[markBegun] == "" {
			return nil
		}
		if err := t.Agent.CareStop(ctx, careUnit); err != nil {
			return err
		}
		if err := r.kubeadmReset(ctx, t, "reset-kubernetes"); err != nil {
			return err
		}
		vip, _, err := r.virtualServer()
		if err != nil {
			return err
		}
		_, err = r.exec(ctx, t, "reset-kubernetes", stubPath, "care", "--clean", "--vs", vip.String())
		return err
	}
	for _, t := range r.Targets {
		if t.marks[markBegun] != "" {
			changes++
		}
	}
	if err := r.each(ctx, r.nodes(), reset); err != nil {
		return installer.Result{}, err
	}
	masters := r.masters()
	for i := len(masters) - 1; i >= 0; i-- {
		if err := reset(ctx, masters[i]); err != nil {
			return installer.Result{}, &installer.HostError{Host: masters[i].IP.String(), Err: err}
		}
	}
	return installer.Result{Changes: changes}, nil
}

// cleanScripts undoes what the init scripts did, in the opposite order.
func (r *Run) cleanScripts(ctx context.Context) (installer.Result, error) {
	changes := 0
	for _, t := range r.Targets {
		if t.begun() {
			changes++
		}
	}
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error {
		if !t.begun() {
			return nil
		}
		// A reset that was cut off may have removed the scripts after they had done their work.
		there, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: []string{"test", "-d", path.Join(r.rootfsDir(), "scripts")}, TimeoutSeconds: 10}, nil)
		if err != nil || there.Code != 0 {
			return err
		}
		keys := []string{"clean", "clean-cri"}
		if t.Master {
			keys = append(keys, "clean-registry")
		}
		for _, key := range keys {
			img, line := r.script(key)
			if line == "" {
				continue
			}
			if err := r.runScript(ctx, t, "clean", path.Join(r.rootfsDir(), "scripts"), line, r.envOf(img, t)); err != nil {
				return err
			}
		}
		return nil
	})
	return installer.Result{Changes: changes}, err
}

// removeFiles removes what the installer itself put on the hosts.
func (r *Run) removeFiles(ctx context.Context) (installer.Result, error) {
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error {
		if !t.begun() {
			return nil
		}
		if _, err := t.Agent.SetHosts(ctx, nil); err != nil {
			return err
		}
		if err := r.removeKubeconfig(ctx, t); err != nil {
			return err
		}
		// kubeadm reset empties etcd's directory and leaves it; one with something in it is not ours.
		if _, err := r.exec(ctx, t, "remove", "rmdir", "--ignore-fail-on-non-empty", "/var/lib/etcd"); err != nil && t.Master {
			r.Report.Warnf("%s: /var/lib/etcd stays: %v", t.IP, err)
		}
		// The stub goes last: it is what carries out the removal.
		// The journal goes last of the rest: as long as it is there, a reset that is cut off can be run again.
		if err := t.Agent.Remove(ctx, []string{etcKube, r.rootfsDir(), r.dir("applications"), r.dir("etc"), r.dir("cache"), r.dir()}); err != nil {
			return err
		}
		t.marks, t.putStub = nil, true
		return nil
	})
	if err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Changes: len(r.Targets)}, r.withdraw(ctx)
}

// removeKubeconfig takes back root's kubeconfig when it is still the one that was written.
func (r *Run) removeKubeconfig(ctx context.Context, t *Target) error {
	before := path.Join(path.Dir(userKubeconfig), "config.before-sealos")
	found, err := t.Agent.ReadFiles(ctx, []string{userKubeconfig, before})
	if err != nil {
		return err
	}
	if !t.marked(markKubeAdmin, inputs(found[userKubeconfig])) {
		return nil
	}
	file := node.File{Path: userKubeconfig, Remove: true}
	if old := found[before]; !bytes.Equal(old, nil) {
		file = node.File{Path: userKubeconfig, Mode: 0o600, Content: old}
	}
	if _, err = t.Agent.WriteFiles(ctx, []node.File{file, {Path: before, Remove: true}}); err != nil {
		return err
	}
	_, err = t.Agent.Exec(ctx, node.ExecRequest{Argv: []string{"rmdir", "--ignore-fail-on-non-empty", path.Dir(userKubeconfig)}, TimeoutSeconds: 10}, nil)
	return err
}

// Forget moves the state of a cluster that is no more out of the way. Logs stay.
func (r *Run) Forget() error {
	var errs []error
	stamp := time.Now().UTC().Format("20060102T150405Z")
	if err := os.Rename(r.State.Path(ClusterfileName), r.State.Path(ClusterfileName+"."+stamp)); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, name := range []string{"pki", "registry-password", "registry_htpasswd"} {
		errs = append(errs, os.RemoveAll(r.State.Path(name)))
	}
	return errors.Join(errs...)
}
