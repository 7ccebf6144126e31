package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// Resume kills the installer with SIGKILL again and again, each time further
// on, pulls the network cable of a host and takes the power from it; the same
// command must then finish, and find nothing to change after that. It logs in by
// password as a user with sudo, as many sites have it. At the end a reset is
// killed too.
func Resume(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := buildAndOpen(ctx, st, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	if _, err := site.master0().Exec(ctx, "rm", "/root/.ssh/id_ed25519"); err != nil {
		return err
	}
	install := append([]string{"--masters", addresses(site.Masters), "--nodes", addresses(site.Nodes), "-u", "ops"}, siteFlags()...)
	st.heading("sealinstall, killed every few seconds")
	for _, after := range []time.Duration{2, 4, 6, 8, 10} {
		if err := site.killed(ctx, st, after*time.Second, install...); err != nil {
			return err
		}
	}
	node := site.Nodes[0]
	if err := site.disturbed(ctx, st, "the network of "+node.Name+" is unplugged", 3*time.Second, node.Unplug, node.Plug, install...); err != nil {
		return err
	}
	if err := site.killed(ctx, st, 12*time.Second, install...); err != nil {
		return err
	}
	if err := site.disturbed(ctx, st, node.Name+" loses its power", 5*time.Second, node.PowerOff, node.PowerOn, install...); err != nil {
		return err
	}
	for _, after := range []time.Duration{14, 17, 20} {
		if err := site.killed(ctx, st, after*time.Second, install...); err != nil {
			return err
		}
	}
	st.heading("the same command, left alone")
	if err := site.finish(ctx, st, install...); err != nil {
		return err
	}
	if err := site.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	res, err := site.withPassword(ctx, install, "/root/sealinstall")
	if err != nil {
		return err
	}
	if !strings.Contains(res.Stdout, "nothing changed") {
		return fmt.Errorf("a run on the finished cluster changed something:\n%s", res.Stdout)
	}
	st.heading("reset, killed once")
	if err := site.killed(ctx, st, 4*time.Second, "reset", "--yes"); err != nil {
		return err
	}
	return site.finish(ctx, st, "reset", "--yes")
}

// withPassword runs argv and then args on the first master, with the ssh
// password in the environment.
func (s *Site) withPassword(ctx context.Context, args []string, argv ...string) (testbed.Result, error) {
	return s.master0().Run(ctx, testbed.Command{Argv: append(argv, args...), Dir: "/root", Env: []string{"SEALINSTALL_PASSWORD=" + s.Password}})
}

// killed runs sealinstall and kills it after a time. One that ended before by
// itself must have succeeded.
func (s *Site) killed(ctx context.Context, st *story, after time.Duration, args ...string) error {
	res, err := s.withPassword(ctx, args, "timeout", "-s", "KILL", fmt.Sprint(after.Seconds()), "/root/sealinstall")
	if err == nil {
		st.say("ended by itself within %s", after)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	last := res.Stdout[strings.LastIndex(strings.TrimSpace(res.Stdout), "\n")+1:]
	// timeout kills itself with its child: no exit status. Anything else is a failure of the installer's own.
	if res.Code == 1 || res.Code == 2 || res.Code == 3 {
		return fmt.Errorf("killed runs leave something that stops the next one: exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	st.say("killed after %-4s in: %s", after, strings.TrimSpace(last))
	return nil
}

// disturbed does something to a host while sealinstall runs, and mends it when
// sealinstall has ended. The run may fail, but must end, and must not be the
// operator's fault.
func (s *Site) disturbed(ctx context.Context, st *story, what string, after time.Duration, disturb, mend func(context.Context) error, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	type outcome struct {
		res testbed.Result
		err error
	}
	ended := make(chan outcome, 1)
	start := time.Now()
	go func() {
		res, err := s.withPassword(ctx, args, "/root/sealinstall")
		ended <- outcome{res, err}
	}()
	select {
	case o := <-ended:
		return fmt.Errorf("it ended before %s: %w\n%s", what, o.err, o.res.Stderr)
	case <-time.After(after):
	}
	if err := disturb(ctx); err != nil {
		return err
	}
	o := <-ended
	st.say("%s after %s: ended after %.1f s with status %d", what, after, time.Since(start).Seconds(), o.res.Code)
	if o.err != nil {
		st.say("%s", strings.TrimSpace(o.res.Stderr))
	}
	if o.res.Code == 2 || ctx.Err() != nil {
		return fmt.Errorf("%s: %w\n%s", what, errors.Join(o.err, ctx.Err()), o.res.Stderr)
	}
	return mend(ctx)
}

func (s *Site) finish(ctx context.Context, st *story, args ...string) error {
	res, err := s.withPassword(ctx, args, "/root/sealinstall")
	st.say("%s", strings.TrimSpace(res.Stdout))
	if err != nil {
		return fmt.Errorf("the run that was left alone: %w\n%s", err, res.Stderr)
	}
	return nil
}
