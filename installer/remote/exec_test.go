package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// asLogin runs as the user of the test what is meant for root.
type asLogin struct{ host.Host }

func (h asLogin) Run(ctx context.Context, c host.Cmd) error {
	c.Root = false
	return h.Host.Run(ctx, c)
}

// overSSH makes the hosts of a site sessions of one ssh server on this machine.
func overSSH(t testing.TB, s *site) *hosttest.Server {
	server := hosttest.StartServer(t, hosttest.ServerConfig{})
	s.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
		h, err := host.DialSSH(ctx, host.SSHConfig{Name: target.IP.String(), Address: "127.0.0.1", Port: server.Port, HostKey: host.Off, Timeout: hosttest.NoClock, Keepalive: hosttest.NoClock})
		return asLogin{h}, err
	}
	t.Cleanup(func() { _ = s.Close() })
	return server
}

func exits(results []Result) (out []string) {
	for _, r := range results {
		exit := "-"
		if r.Exit != nil {
			exit = fmt.Sprint(*r.Exit)
		}
		out = append(out, exit)
	}
	return out
}

func TestAProgramGetsItsArgumentsEnvironmentAndInputAsTheyAre(t *testing.T) {
	s := newSite(t, 2, false)
	server := overSSH(t, s)
	secret := "it's \"secret\" \\n $HOME `id`\n%s ü\n"
	args := []string{"a b", "", "$HOME", "*", "'quoted'", "new\nline", `\0101`}
	p := Program{
		Argv:    append([]string{"/bin/sh", "-c", `printf '<%s>' "$@"; printf '{%s}' "$SECRET" "$EMPTY"; cat; echo err >&2; exit 7`, "sh"}, args...),
		Env:     map[string]string{"SECRET": secret, "EMPTY": ""},
		Stdin:   []byte("in\x00put\nwithout an end"),
		Timeout: time.Minute,
	}
	results, err := Exec(t.Context(), s.Fleet, p, Kept(2))
	if err != nil {
		t.Fatal(err)
	}
	want := "<" + strings.Join(args, "><") + ">{" + secret + "}{}in\x00put\nwithout an end"
	for _, r := range results {
		if r.Stdout != want || r.Stderr != "err\n" {
			t.Errorf("%s: %q, want %q; on stderr %q", r.Host, r.Stdout, want, r.Stderr)
		}
	}
	if diff := cmp.Diff([]string{"7", "7"}, exits(results)); diff != "" {
		t.Error(diff)
	}
	for _, line := range server.Commands() {
		if strings.Contains(line, "secret") {
			t.Errorf("the value of a variable is on a command line: %s", line)
		}
	}
}

func TestHowAProgramEndsIsToldAsAShellDoes(t *testing.T) {
	for name, c := range map[string]struct{ line, exit, says string }{
		"status":          {"exit 3", "3", ""},
		"signal":          {"kill -KILL $$", "137", "ended by signal KILL"},
		"no such thing":   {"exec /no/such/program", "127", ""},
		"it does not end": {"sleep 1000", "-", "no end after 1s (--timeout)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 1, false)
			overSSH(t, s)
			patience := time.Minute
			if c.exit == "-" {
				patience = time.Second
			}
			results, err := Exec(t.Context(), s.Fleet, Program{Argv: []string{"/bin/sh", "-c", c.line}, Timeout: patience}, Kept(1))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{c.exit}, exits(results)); diff != "" || !strings.Contains(results[0].Error, c.says) {
				t.Errorf("%s: %+v", diff, results)
			}
		})
	}
}

// Of 200 hosts 3 hang, which are let go when all others have ended, and 5 fail: if one of those that hang held up another, this
// test would not end.
func TestHostsThatHangOrFailHoldUpNoOther(t *testing.T) {
	const hosts, hanging, failing = 200, 3, 5
	s := newSite(t, hosts, false)
	overSSH(t, s)
	real := s.Dial
	release := make(chan struct{})
	s.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
		switch i := places(s)[target]; {
		case i%67 == 1 && i/67 < hanging:
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, &host.Error{Host: target.IP.String(), Kind: host.ErrUnreachable, Err: errors.New("no login within 15s")}
		case i%40 == 2:
			return nil, &host.Error{Host: target.IP.String(), Kind: host.ErrAuth}
		}
		return real(ctx, target)
	}
	out := &counting{Output: Kept(hosts), left: hosts - hanging, all: release}
	start := time.Now()
	results, err := Exec(t.Context(), s.Fleet, Program{Argv: []string{"echo", "here"}, Timeout: time.Hour}, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("200 hosts took %v", time.Since(start))
	if failed := Failed(results); len(failed) != hanging+failing {
		t.Errorf("%d hosts failed: %+v", len(failed), failed)
	}
	for _, r := range results {
		if r.OK() != (r.Stdout == "here\n") {
			t.Errorf("%+v", r)
		}
	}
}

func places(s *site) map[*fleet.Target]int {
	out := map[*fleet.Target]int{}
	for i, t := range s.Targets {
		out[t] = i
	}
	return out
}

// counting closes all when so many hosts have ended.
type counting struct {
	Output
	left  int
	ended atomic.Int64
	all   chan struct{}
}

func (c *counting) End(i int, r *Result) error {
	if int(c.ended.Add(1)) == c.left {
		close(c.all)
	}
	return c.Output.End(i, r)
}

// BenchmarkExec is how long a program of a second takes on 20 and on 200 hosts: over ssh, of which both ends share this machine,
// and on hosts that cost nothing.
func BenchmarkExec(b *testing.B) {
	for _, hosts := range []int{20, 200} {
		for _, ssh := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/ssh=%t", hosts, ssh), func(b *testing.B) {
				s := newSite(b, hosts, false)
				s.Jobs = 200
				for _, h := range s.hosts {
					h.run = func(ctx context.Context, _ host.Cmd) error {
						select {
						case <-time.After(time.Second):
							return nil
						case <-ctx.Done():
							return context.Cause(ctx)
						}
					}
				}
				if ssh {
					overSSH(b, s)
				}
				for b.Loop() {
					p := Program{Argv: []string{"sleep", "1"}, Timeout: time.Minute}
					if results, err := Exec(b.Context(), s.Fleet, p, Kept(hosts)); err != nil || len(Failed(results)) > 0 {
						b.Fatal(err, Failed(results))
					}
				}
			})
		}
	}
}

func TestHostsThatHadNoTurnAreToldWhenTheCommandIsStopped(t *testing.T) {
	s := newSite(t, 3, false)
	s.Jobs = 1
	ctx, stop := context.WithCancelCause(t.Context())
	s.Dial = func(ctx context.Context, _ *fleet.Target) (host.Host, error) {
		stop(installer.ErrInterrupted)
		return nil, context.Cause(ctx)
	}
	var stdout, stderr bytes.Buffer
	results, err := Exec(ctx, s.Fleet, Program{Argv: []string{"true"}, Timeout: time.Minute}, Grouped([]string{"a", "b", "c"}, &stdout, &stderr))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Exit != nil || r.Error != installer.ErrInterrupted.Error() {
			t.Errorf("%+v", r)
		}
	}
}

func TestOutputOfSeveralHostsIsToldApart(t *testing.T) {
	names := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	zero := 0
	say := func(o Output, i int, stdout, stderr string) {
		out, errs := o.Begin(i)
		for _, c := range stdout { // as it may come
			_, _ = io.WriteString(out, string(c))
		}
		_, _ = io.WriteString(errs, stderr)
		if err := o.End(i, &Result{Host: names[i], Exit: &zero}); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		make   func(names []string, stdout, stderr io.Writer) Output
		stdout string
		stderr string
	}{
		"grouped": {
			Grouped, "== 10.0.0.1\none\n== 10.0.0.2\ntwo\nlines\n== 10.0.0.3\n", "== 10.0.0.3 (stderr)\nfailed\n",
		},
		"line by line": {
			Lines, "10.0.0.2: two\n10.0.0.2: lines\n10.0.0.1: one\n", "10.0.0.3: failed\n",
		},
	} {
		var stdout, stderr strings.Builder
		o := c.make(names, &stdout, &stderr)
		say(o, 1, "two\nlines", "")
		say(o, 2, "", "failed\n")
		say(o, 0, "one\n", "")
		if diff := cmp.Diff([]string{c.stdout, c.stderr}, []string{stdout.String(), stderr.String()}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOutputThatIsTooMuchToKeepLosesItsBeginning(t *testing.T) {
	var stdout, stderr strings.Builder
	o := Grouped([]string{"10.0.0.1"}, &stdout, &stderr)
	out, _ := o.Begin(0)
	piece := strings.Repeat("x", 1<<20)
	for range 30 {
		_, _ = io.WriteString(out, piece)
	}
	_, _ = io.WriteString(out, "the end\n")
	zero := 0
	if err := o.End(0, &Result{Exit: &zero}); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(stdout.String(), "\n")
	if !strings.Contains(first, "bytes are left out; --stream shows all") || !strings.HasSuffix(rest, "the end\n") || len(rest) != maxKept {
		t.Errorf("%q, and %d bytes", first, len(rest))
	}
}

func TestVariablesThatNoShellCanSetAreRefused(t *testing.T) {
	for _, name := range []string{"", "A-B", "1A", "A B", "A=B"} {
		if err := (Program{Argv: []string{"true"}, Env: map[string]string{name: "x"}}).Check(); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
