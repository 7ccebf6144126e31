package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/guest"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// guest runs ENTRYPOINT and CMD of each image in order: those of the rootfs and
// patches on all hosts, those of applications on master0. The first command
// that fails ends the step.
func (r *Run) guest(ctx context.Context) (installer.Result, error) {
	var changes atomic.Int64
	vain := map[*fleet.Target]bool{} // hosts whose Services were waited for in vain
	for n, i := range r.Payload.Images {
		targets := []*fleet.Target{r.Master0()}
		if i.Type != installer.TypeApplication {
			targets = r.Targets
		}
		// Once for all hosts, and only if one of them has something to run.
		ready := sync.OnceValue(func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("no end after %s (--timeout)", r.Timeout))
			defer cancel()
			return errors.Join(r.health.WaitAPI(ctx), r.health.WaitServices(ctx, vain))
		})
		err := r.Each(ctx, targets, func(ctx context.Context, t *fleet.Target) error {
			i := r.Share(t).All()[n]
			cmd := i.Cmd
			if len(r.Cluster.Command) > 0 && n == len(r.Payload.Images)-1 {
				cmd = r.Cluster.Command
			}
			if len(i.Entrypoint)+len(cmd) == 0 {
				return nil
			}
			done, err := r.runGuest(ctx, t, i, cmd, ready)
			changes.Add(int64(done))
			return err
		})
		if err != nil {
			return installer.Result{Changes: int(changes.Load())}, err
		}
	}
	return installer.Result{Changes: int(changes.Load())}, nil
}

// ownEnv leaves out what the installer itself adds: a further master is no
// reason to run an application's commands again. Where a command or a template
// uses such a value, the text it gives counts.
func ownEnv(env map[string]string) map[string]string {
	out := installer.MergeEnv(env)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return strings.HasPrefix(k, "SEALOS_SYS_") || strings.HasPrefix(k, "registry")
	})
	return out
}

func (r *Run) runGuest(ctx context.Context, t *fleet.Target, i *payload.Image, cmd []string, ready func() error) (int, error) {
	env := r.Share(t).Env(i)
	if env["KUBECONFIG"] == "" && t.Master {
		env["KUBECONFIG"] = installer.AdminConf
	}
	if env["KUBECACHEDIR"] == "" {
		env["KUBECACHEDIR"] = r.KubectlCache()
	}
	lines := guest.Lines(i.Entrypoint, cmd, env)
	in := journal.Inputs(i.Bundled, lines, ownEnv(env), t.Overlays[i])
	done := guestDone(t.Journal.Of(journal.Guest(i.DirName())), in, len(lines))
	if done == len(lines) {
		return 0, r.tellMasters(ctx, i, in)
	}
	if err := ready(); err != nil {
		return 0, err
	}
	if err := r.untellMasters(ctx, t, i); err != nil {
		return 0, err
	}
	_, err := t.Journal.Under(ctx, journal.Guest(i.DirName()), in, func(w *journal.Work) error {
		for n, line := range lines[done:] {
			record := t.Journal.File(journal.Guest(i.DirName()), guestProgress(in, done+n+1, len(lines)))
			if done+n+1 == len(lines) {
				record = w.ByHost()
			}
			if err := r.runLine(ctx, t, i, line, env, record); err != nil {
				return &installer.GuestError{Image: i.Name, Host: t.IP.String(), Command: line, Err: err}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(lines) - done, r.tellMasters(ctx, i, in)
}

// runLine runs one command of an image, for as long as one command may take.
func (r *Run) runLine(ctx context.Context, t *fleet.Target, i *payload.Image, line string, env map[string]string, record agent.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("no end after %s (--timeout)", r.Timeout))
	defer cancel()
	log := r.Report.Output(t.IP.String(), "guest", line)
	defer func() { _ = log.Close() }()
	err := t.Agent.Script(ctx, agent.ScriptRequest{Dir: i.Dir, Line: line, Env: env, Then: []agent.File{record}}, log)
	var script *agent.ScriptError
	if errors.As(err, &script) {
		if len(script.Tail) == 0 {
			return fmt.Errorf("exit status %d, and it printed nothing", script.Code)
		}
		return fmt.Errorf("exit status %d:\n%s", script.Code, strings.Join(script.Tail[max(0, len(script.Tail)-15):], "\n"))
	}
	return err
}

// guestProgress is the mark of an image of whose commands so many have ended.
func guestProgress(in string, done, all int) string {
	if done == all {
		return in
	}
	return fmt.Sprintf("%s/%d", in, done)
}

// guestDone reads how many commands a mark speaks of; none if their inputs were others.
func guestDone(mark, in string, all int) int {
	for done := all; done > 0; done-- {
		if mark == guestProgress(in, done, all) {
			return done
		}
	}
	return 0
}

// tellMasters lets every master know that the commands of an application ran, as
// they did for the whole cluster: should the first one be gone, another must not
// run them again.
func (r *Run) tellMasters(ctx context.Context, i *payload.Image, in string) error {
	if i.Type != installer.TypeApplication {
		return nil
	}
	return r.Each(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) error {
		if t.Journal.Is(journal.Guest(i.DirName()), in) {
			return nil
		}
		return t.Journal.Set(ctx, journal.Guest(i.DirName()), in)
	})
}

// untellMasters takes back, before the commands of an application run, what masters were told of earlier ones with other
// inputs: where these fail half way, no master may take the earlier ones for what holds.
func (r *Run) untellMasters(ctx context.Context, at *fleet.Target, i *payload.Image) error {
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
