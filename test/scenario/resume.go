package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// moment is a point of a run: some time after a step has begun. Steps, and not
// seconds since the start, since a fast machine would be done before its disturbance.
type moment struct {
	step  string
	after time.Duration
}

func (m moment) String() string { return fmt.Sprintf("%s + %s", m.step, m.after) }

// leastKills is how many of the kills must have met a running installer.
const leastKills = 10

// Resume kills the installer with SIGKILL again and again, each time further
// on, takes the power from a host and pulls its network cable; the same
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
	node := site.Nodes[0]
	kills := 0
	kill := func(step string, after time.Duration) func() error {
		return func() error {
			met, err := site.killed(ctx, st, moment{step, after}, install...)
			if met {
				kills++
			}
			return err
		}
	}
	st.heading("sealinstall, killed in every step that takes time")
	for _, disturb := range []func() error{
		kill("check", 500*time.Millisecond),
		kill("distribute-rootfs", 300*time.Millisecond),
		kill("distribute-registry", 0),
		func() error {
			return site.disturbed(ctx, st, node.Name+" loses its power", moment{"bootstrap", time.Second}, node.PowerOff, node.PowerOn, install...)
		},
		kill("bootstrap", time.Second),
		kill("bootstrap", 3*time.Second),
		kill("init-master0", time.Second),
		kill("init-master0", 4*time.Second),
		func() error {
			return site.disturbed(ctx, st, "the network of "+node.Name+" is unplugged", moment{"join-nodes", time.Second}, node.Unplug, node.Plug, install...)
		},
		kill("join-nodes", 500*time.Millisecond),
		kill("join-nodes", 2500*time.Millisecond),
		kill("guest", 500*time.Millisecond),
		kill("verify", 0),
	} {
		if err := disturb(); err != nil {
			return err
		}
	}
	if kills < leastKills {
		return fmt.Errorf("only %d kills met a running installer, fewer than %d", kills, leastKills)
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
	res, err := site.withPassword(ctx, install)
	if err != nil {
		return err
	}
	if !strings.Contains(res.Stdout, "nothing changed") {
		return fmt.Errorf("a run on the finished cluster changed something:\n%s", res.Stdout)
	}
	st.heading("reset, killed once")
	if _, err := site.killed(ctx, st, moment{"reset-kubernetes", time.Second}, "reset", "--yes"); err != nil {
		return err
	}
	return site.finish(ctx, st, "reset", "--yes")
}

// withPassword runs sealinstall on the first master, with the ssh password in
// the environment.
func (s *Site) withPassword(ctx context.Context, args []string) (testbed.Result, error) {
	return s.master0().Run(ctx, testbed.Command{Argv: append([]string{s.file}, args...), Dir: "/root", Env: s.passwordEnv()})
}

func (s *Site) passwordEnv() []string { return []string{"SEALINSTALL_PASSWORD=" + s.Password} }

// run is a sealinstall that runs on the first master.
type run struct {
	begun chan struct{} // closed when the step that is waited for has begun
	ended chan struct{} // closed when it has ended; res and err are set then
	kill  context.CancelFunc
	out   *stepWatch
	res   testbed.Result
	err   error
}

// begin starts sealinstall and watches for a step.
func (s *Site) begin(ctx context.Context, step string, args ...string) *run {
	ctx, kill := context.WithCancel(ctx)
	r := &run{begun: make(chan struct{}), ended: make(chan struct{}), kill: kill}
	r.out = &stepWatch{step: step, begun: r.begun}
	go func() {
		defer close(r.ended)
		r.res, r.err = s.master0().Run(ctx, testbed.Command{
			Argv: slices.Concat([]string{s.file}, args, []string{"--progress", "json"}), Dir: "/root", Env: s.passwordEnv(), Stderr: r.out,
		})
	}()
	return r
}

// reach waits for a moment and tells whether the run still goes on then.
func (r *run) reach(ctx context.Context, m moment) bool {
	select {
	case <-r.begun:
	case <-r.ended:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case <-time.After(m.after):
		return true
	case <-r.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// stepWatch reads what a run tells, and closes begun when a step begins.
type stepWatch struct {
	step  string
	mu    sync.Mutex
	rest  []byte        // the beginning of a line
	text  []string      // what a person would read
	begun chan struct{} // nil once closed
}

func (w *stepWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		w.rest = bytes.Clone(rest)
		var e struct{ Event, Step, Host, Text, Error, Remedy string }
		if json.Unmarshal(line, &e) != nil {
			w.text = append(w.text, string(line))
			continue
		}
		if e.Event == "step-begins" && e.Step == w.step && w.begun != nil {
			close(w.begun)
			w.begun = nil
		}
		switch e.Event {
		case "step-begins", "warning", "info", "problem", "ends":
			w.text = append(w.text, strings.Join(strings.Fields(strings.Join([]string{e.Event, e.Step, e.Host, e.Text, e.Error, e.Remedy}, " ")), " "))
		}
	}
}

func (w *stepWatch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.text, "\n")
}

// killed runs sealinstall, kills it at a moment, and tells whether it met it
// running. One that ended before by itself must have succeeded.
func (s *Site) killed(ctx context.Context, st *story, at moment, args ...string) (met bool, err error) {
	r := s.begin(ctx, at.step, args...)
	met = r.reach(ctx, at)
	r.kill() // SIGKILL
	<-r.ended
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case met && r.res.Code == -1:
		text := strings.TrimSpace(r.out.String())
		st.say("killed at %-26s in: %s", at, text[strings.LastIndex(text, "\n")+1:])
		return true, nil
	case r.err == nil:
		st.say("ended by itself before %s", at)
		return false, nil
	}
	return false, fmt.Errorf("a run after killed ones ended by itself before %s: %w\n%s", at, r.err, r.out)
}

// disturbed does something to a host at a moment of a run, and mends it when the
// run has ended. The run may fail, but must end, and must not be the operator's
// fault.
func (s *Site) disturbed(ctx context.Context, st *story, what string, at moment, disturb, mend func(context.Context) error, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	start := time.Now()
	r := s.begin(ctx, at.step, args...)
	defer r.kill()
	if !r.reach(ctx, at) {
		<-r.ended
		return fmt.Errorf("the run ended before %s at %s (%v, %v):\n%s", what, at, r.err, ctx.Err(), r.out)
	}
	if err := disturb(ctx); err != nil {
		return err
	}
	<-r.ended
	st.say("%s at %s: ended after %.1f s with status %d", what, at, time.Since(start).Seconds(), r.res.Code)
	if r.err != nil {
		text := r.out.String()
		st.say("%s", text[strings.LastIndex(text, "\n")+1:])
	}
	if r.res.Code == 2 || ctx.Err() != nil {
		return fmt.Errorf("%s: %w\n%s", what, errors.Join(r.err, ctx.Err()), r.out)
	}
	return mend(ctx)
}

func (s *Site) finish(ctx context.Context, st *story, args ...string) error {
	res, err := s.withPassword(ctx, args)
	st.say("%s", strings.TrimSpace(res.Stdout))
	if err != nil {
		return fmt.Errorf("the run that was left alone: %w\n%s", err, res.Stderr)
	}
	return nil
}
