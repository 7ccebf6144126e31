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
// on; the same command must then finish, and find nothing to change after
// that. It logs in by password as a user with sudo, as many sites have it. At
// the end a reset is killed too.
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
	for _, after := range []time.Duration{2, 4, 6, 8, 11, 14, 17, 20} {
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

func (s *Site) finish(ctx context.Context, st *story, args ...string) error {
	res, err := s.withPassword(ctx, args, "/root/sealinstall")
	st.say("%s", strings.TrimSpace(res.Stdout))
	if err != nil {
		return fmt.Errorf("the run that was left alone: %w\n%s", err, res.Stderr)
	}
	return nil
}
