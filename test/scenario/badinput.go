package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// BadInput does what operators and engineers get wrong, checks exit status and
// message of each, and that no host was changed.
func BadInput(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	b, stop, err := Build(ctx, st)
	if err != nil {
		return err
	}
	st.heading("mistakes on the connected side")
	err = errors.Join(b.brokenKubefile(ctx, st), b.missingImage(ctx, st), stop())
	if err != nil {
		return errors.Join(err, b.work.remove())
	}
	site, err := openSite(ctx, st, b, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	st.heading("mistakes at the site")
	if err := site.damagedBundles(ctx, st, b); err != nil {
		return err
	}
	if err := site.wrongAccess(ctx, st); err != nil {
		return err
	}
	st.heading("no host was changed by any of them")
	after, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	var left []string
	for i, h := range site.Hosts {
		for _, d := range diff(before[i], after[i]) {
			if !expectedAfterReset(d) && !strings.Contains(d, "/root/damaged") {
				left = append(left, h.Name+": "+d)
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("hosts were changed:\n%s", strings.Join(left, "\n"))
	}
	return site.failingGuest(ctx, st)
}

// expectation is what a mistake must lead to.
type expectation struct {
	code int
	says []string // each must be in the output
}

func (e expectation) check(what string, code int, output string) error {
	var errs []error
	if code != e.code {
		errs = append(errs, fmt.Errorf("%s: exit status %d, want %d", what, code, e.code))
	}
	for _, s := range e.says {
		if !strings.Contains(output, s) {
			errs = append(errs, fmt.Errorf("%s: the output lacks %q", what, s))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("output of %s:\n%s", what, output))
	}
	return errors.Join(errs...)
}

func (b Built) expect(ctx context.Context, st *story, what string, e expectation, args ...string) error {
	cmd := exec.CommandContext(ctx, b.sealbuild(), args...)
	cmd.Env = append(os.Environ(), b.env()...)
	out, err := cmd.CombinedOutput()
	code := cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	st.say("--- %s: exit status %d\n%s", what, code, indent(out))
	return e.check(what, code, string(out))
}

func indent(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-12):], "\n    ")
}

// contextWith makes a build context of the given files.
func contextWith(files map[string]string) (string, error) {
	dir, err := os.MkdirTemp("", "context-")
	if err != nil {
		return "", err
	}
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

func (b Built) brokenKubefile(ctx context.Context, st *story) error {
	dir, err := contextWith(map[string]string{"Kubefile": "FROM scratch\nCOPPY . .\n"})
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return b.expect(ctx, st, "a syntax error in a Kubefile", expectation{1, []string{"Kubefile:2:1", "COPPY", "COPY"}}, "-t", "broken:1", "-o", "none", dir)
}

func (b Built) missingImage(ctx context.Context, st *story) error {
	dir, err := contextWith(map[string]string{
		"Kubefile":           "FROM scratch\nCOPY images images\n",
		"images/shim/List":   "# what we need\nregistry.k8s.io/pause:3.10.2\nregistry.k8s.io/no-such-image:v1\n",
		"images/shim/Second": "ghcr.io/sealbuild/neither:2\n",
	})
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return b.expect(ctx, st, "images that do not exist", expectation{1, []string{"no-such-image:v1", "images/shim/List:3", "neither:2", "images/shim/Second:1"}}, "-t", "missing:1", "-o", "none", dir)
}

// expect runs sealinstall on the first master.
func (s *Site) expect(ctx context.Context, st *story, what string, e expectation, args ...string) error {
	var both bytes.Buffer
	res, err := s.master0().Run(ctx, testbed.Command{Argv: append([]string{"/root/sealinstall"}, args...), Dir: "/root", Stdout: &both, Stderr: &both})
	if err != nil && res.Code == 0 {
		return err
	}
	st.say("--- %s: exit status %d\n%s", what, res.Code, indent(both.Bytes()))
	return e.check(what, res.Code, both.String())
}

func (s *Site) damagedBundles(ctx context.Context, st *story, b Built) error {
	data, err := os.ReadFile(b.Bundle)
	if err != nil {
		return err
	}
	run := append([]string{"--masters", addresses(s.Masters), "--nodes", addresses(s.Nodes), "--bundle", "/root/damaged"}, siteFlags()...)
	cut := filepath.Join(s.Dir, "damaged")
	defer os.Remove(cut)
	for _, d := range []struct {
		what string
		data []byte
		says []string
	}{
		{"a bundle cut short", data[:len(data)*4/5], []string{"truncated"}},
		{"a bundle with one flipped byte", flipped(data), []string{"damaged", "bytes "}},
		{"a file that is no bundle", []byte("#!/bin/sh\necho hello\n"), []string{"not a sealbuild bundle"}},
	} {
		if err := os.WriteFile(cut, d.data, 0o755); err != nil {
			return err
		}
		if err := s.master0().Copy(ctx, cut, "/root/damaged", 0o755); err != nil {
			return err
		}
		if err := s.expect(ctx, st, d.what, expectation{1, d.says}, run...); err != nil {
			return err
		}
	}
	_, err = s.master0().Exec(ctx, "rm", "/root/damaged")
	return err
}

// flipped turns one bit in the middle of the payload.
func flipped(data []byte) []byte {
	out := bytes.Clone(data)
	out[len(out)*3/4] ^= 0x10
	return out
}

func (s *Site) wrongAccess(ctx context.Context, st *story) error {
	masters, nodes := addresses(s.Masters), addresses(s.Nodes)
	run := func(nodes string, more ...string) []string {
		return append(append([]string{"--masters", masters, "--nodes", nodes}, siteFlags()...), more...)
	}
	if err := s.expect(ctx, st, "a wrong password", expectation{3, []string{nodes, "login refused", "no host was changed"}}, run(nodes, "-i", "/dev/null", "-p", "wrong-password")...); err != nil {
		return err
	}
	nobody := "10.66.255.254"
	if a := s.Hosts[0].Addr; strings.Count(a, ".") == 3 {
		nobody = a[:strings.LastIndex(a, ".")] + ".250"
	}
	if err := s.expect(ctx, st, "two hosts that are not there", expectation{3, []string{nobody, "unreachable", nodes + ":"}[:2]}, run(nodes+","+nobody)...); err != nil {
		return err
	}
	if err := s.expect(ctx, st, "one address twice", expectation{2, []string{masters}}, run(masters)...); err != nil {
		return err
	}
	if _, err := s.Nodes[0].Exec(ctx, "hostname", s.master0().Name); err != nil {
		return err
	}
	err := s.expect(ctx, st, "two hosts of one name", expectation{3, []string{"host name", s.master0().Name, masters, nodes, "hostnamectl"}}, run(nodes)...)
	_, back := s.Nodes[0].Exec(ctx, "hostname", s.Nodes[0].Name)
	return errors.Join(err, back)
}

// failingGuest lets the last command of an installation fail: the status must
// say so, and the right command must then finish what is left.
func (s *Site) failingGuest(ctx context.Context, st *story) error {
	st.heading("a guest command that fails")
	args := append([]string{"--masters", addresses(s.Masters), "--nodes", addresses(s.Nodes)}, siteFlags()...)
	err := s.expect(ctx, st, "a failing guest command", expectation{1, []string{"guest", "exit 7", "exit status 7", "disk is on fire", "example:latest", "log:"}},
		append(args, "--cmd", "echo the disk is on fire; exit 7")...)
	if err != nil {
		return err
	}
	res, err := s.master0().Exec(ctx, "grep", "-E", "phase:|reason:", "/root/.sealos/default/Clusterfile")
	if err != nil {
		return err
	}
	if !strings.Contains(res.Stdout, "phase: ClusterFailed") {
		return fmt.Errorf("the Clusterfile does not tell the truth:\n%s", res.Stdout)
	}
	st.say("Clusterfile: %s", strings.Join(strings.Fields(res.Stdout), " "))
	if _, _, err := s.install(ctx, st); err != nil {
		return fmt.Errorf("the right command does not finish what is left: %w", err)
	}
	return s.waitPods(ctx, 3*time.Minute)
}
