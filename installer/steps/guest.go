package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/guest"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// guest runs ENTRYPOINT and CMD of each image in order: those of the rootfs and patches on all hosts, those of applications
// on master0. The first command that fails ends the step.
func (r *Run) guest(ctx context.Context) (installer.Result, error) {
	changes := 0
	vain := map[*fleet.Target]bool{} // hosts where Services were waited for in vain
	for n, i := range r.Payload.Images {
		if i.Recorded {
			continue // its commands ran when it came into the cluster
		}
		targets := []*fleet.Target{r.Master0()}
		if i.Type != installer.TypeApplication {
			targets = r.Targets
		}
		// The cluster is waited for once for all hosts, and only if one of them has a command to run.
		ready := sync.OnceValue(func() error {
			ctx, cancel := r.Bounded(ctx)
			defer cancel()
			return errors.Join(r.health.WaitAPI(ctx), r.health.WaitServices(ctx, vain))
		})
		ran, err := r.Count(ctx, targets, func(ctx context.Context, t *fleet.Target) (int, error) {
			i := r.Share(t).All()[n]
			cmd := site.Adding{Site: r.Site}.CommandOf(i)
			if len(i.Entrypoint)+len(cmd) == 0 {
				return 0, nil
			}
			return r.runGuest(ctx, t, i, cmd, ready)
		})
		changes += ran
		if err != nil {
			return installer.Result{Changes: changes}, err
		}
	}
	return installer.Result{Changes: changes}, nil
}

// ownEnv leaves out what the installer itself adds: that there is one more master is no reason to run an application's
// commands again. If a command or a template uses such a value, its text is among the inputs anyway.
func ownEnv(env map[string]string) map[string]string {
	out := maps.Clone(env)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return strings.HasPrefix(k, "SEALOS_SYS_") || strings.HasPrefix(k, "registry")
	})
	return out
}

// runGuest runs the commands of an image on a host that have not ended there with the same inputs, and returns how many.
// ready waits for the cluster before the first one.
func (r *Run) runGuest(ctx context.Context, t *fleet.Target, i *payload.Image, cmd []string, ready func() error) (int, error) {
	env := r.Share(t).Env(i)
	if env["KUBECONFIG"] == "" && t.Master {
		env["KUBECONFIG"] = installer.AdminConf
	}
	if env["KUBECACHEDIR"] == "" {
		env["KUBECACHEDIR"] = r.KubectlCache()
	}
	lines := guest.Lines(i.Entrypoint, cmd, env)
	name := journal.Guest(i.DirName())
	inputs := journal.Inputs(i.Bundled, lines, ownEnv(env), t.Overlays[i])
	done := guestDone(t.Journal.Of(name), inputs, len(lines))
	if done == len(lines) {
		return 0, r.markMasters(ctx, i, inputs)
	}
	if err := ready(); err != nil {
		return 0, err
	}
	if err := r.unmarkMasters(ctx, t, i); err != nil {
		return 0, err
	}
	_, err := t.Journal.Under(ctx, name, inputs, func(w *journal.Work) error {
		for n := done; n < len(lines); n++ {
			mark := t.Journal.File(name, guestProgress(inputs, n+1, len(lines)))
			if n+1 == len(lines) {
				mark = w.ByHost()
			}
			if err := r.runCommand(ctx, t, agent.ScriptRequest{Dir: i.Dir, Line: lines[n], Env: env, Then: []agent.File{mark}}); err != nil {
				return &installer.GuestError{Image: i.Name, Host: t.IP.String(), Command: lines[n], Err: err}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(lines) - done, r.markMasters(ctx, i, inputs)
}

// runCommand runs one command of an image. The error shows the end of its output.
func (r *Run) runCommand(ctx context.Context, t *fleet.Target, req agent.ScriptRequest) error {
	err := r.RunLine(ctx, t, "guest", req.Line, req)
	if script, ok := errors.AsType[*agent.ScriptError](err); ok {
		if len(script.Tail) == 0 {
			return fmt.Errorf("exit status %d, and it printed nothing", script.Code)
		}
		return fmt.Errorf("exit status %d:\n%s", script.Code, strings.Join(script.Tail[max(0, len(script.Tail)-15):], "\n"))
	}
	return err
}

// guestProgress is what the mark of an image says once done of all its commands have ended.
func guestProgress(inputs string, done, all int) string {
	if done == all {
		return inputs
	}
	return fmt.Sprintf("%s/%d", inputs, done)
}

// guestDone is how many commands have ended by what a mark says; 0 if they had other inputs.
func guestDone(mark, inputs string, all int) int {
	for done := all; done > 0; done-- {
		if mark == guestProgress(inputs, done, all) {
			return done
		}
	}
	return 0
}

// markMasters sets the mark of an application's commands on every master. They ran for the whole cluster: if the first
// master is lost, another one must not run them again.
func (r *Run) markMasters(ctx context.Context, i *payload.Image, inputs string) error {
	if i.Type != installer.TypeApplication {
		return nil
	}
	return r.Each(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) error {
		if t.Journal.Is(journal.Guest(i.DirName()), inputs) {
			return nil
		}
		return t.Journal.Set(ctx, journal.Guest(i.DirName()), inputs)
	})
}

// unmarkMasters takes back the marks of an application's commands on all masters but one, before they run there with other
// inputs: if these fail half way, no master must say that the earlier ones hold.
func (r *Run) unmarkMasters(ctx context.Context, at *fleet.Target, i *payload.Image) error {
	if i.Type != installer.TypeApplication {
		return nil
	}
	return r.Each(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) error {
		if t == at {
			return nil
		}
		return t.Journal.Drop(ctx, journal.Guest(i.DirName()))
	})
}
