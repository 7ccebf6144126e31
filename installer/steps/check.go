package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/node"
)

// connectTimeout bounds reaching one host.
const connectTimeout = 15 * time.Second

// check reaches every host, reads its facts and reports every problem of every
// host at once. What it brings to a host, its own stub, it takes away again
// when the run goes no further.
func (r *Run) check(ctx context.Context) (installer.Result, error) {
	if err := r.loadImages(); err != nil {
		return installer.Result{}, err
	}
	if err := r.readFiles(ctx); err != nil {
		return installer.Result{}, err
	}
	r.verifyInBackground(ctx)
	problems := r.connectAll(ctx)
	if err := r.settleState(ctx); err != nil {
		return installer.Result{}, errors.Join(err, r.withdraw(ctx))
	}
	problems = append(problems, r.judge()...)
	problems = append(problems, r.checkScripts(ctx, problems)...)
	var serious []Problem
	for _, p := range problems {
		if p.Warning {
			r.Report.Warnf("%s: %s: %s (%s)", p.Host, p.Check, p.Message, p.Remedy)
		} else {
			serious = append(serious, p)
		}
	}
	if err := ctx.Err(); err != nil {
		return installer.Result{}, errors.Join(context.Cause(ctx), r.withdraw(ctx))
	}
	if len(serious) > 0 {
		return installer.Result{}, errors.Join(&PreflightError{Problems: serious}, r.withdraw(ctx))
	}
	return installer.Result{Note: fmt.Sprintf("%d hosts", len(r.Targets))}, nil
}

// connectAll reaches all hosts and reads their facts.
func (r *Run) connectAll(ctx context.Context) []Problem {
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error {
		if err := r.connect(ctx, t); err != nil {
			return err
		}
		return r.look(ctx, t)
	})
	return problemsFrom(err, "connect")
}

// settleState brings together what this machine knows about the cluster and
// what its masters know, and settles the secrets.
func (r *Run) settleState(ctx context.Context) error {
	if err := r.adoptState(ctx); err != nil {
		return err
	}
	return r.loadSecrets(ctx)
}

// connect opens the one connection to a host and brings the stub there. How
// long the stub takes depends on the line, so only the run's timeout bounds it.
func (r *Run) connect(ctx context.Context, t *Target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("the host took longer than %s (--timeout)", r.Timeout))
	defer cancel()
	link, err := r.dial(ctx, t)
	if err != nil {
		return err
	}
	t.Link = link
	t.Agent = node.NewAgent(t.Link, stubPath)
	stub := r.Bundle.Stub()
	if stub == nil || stub.Size() == 0 {
		return errors.New("the bundle carries no installer to run on the hosts: build it with sealbuild")
	}
	exists := t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-e", stubPath}, Root: true}) == nil
	t.putStub = !exists // even if it fails: then its directories may be there
	if err := t.Link.Put(ctx, stubPath, 0o755, stub); err != nil {
		return fmt.Errorf("bring the installer to %s: %w", stubPath, err)
	}
	return nil
}

// dialHost opens the connection to a host: none to this machine itself.
func (r *Run) dialHost(ctx context.Context, t *Target) (host.Host, error) {
	if isLocal(t.IP) {
		return host.Local(t.IP.String()), nil
	}
	return host.DialSSH(ctx, host.SSHConfig{
		Address: t.IP.String(), Port: t.SSH.Port, User: t.SSH.User, Password: t.SSH.Password,
		KeyFiles: keyFiles(t.SSH), KeyPassphrase: t.SSH.KeyPassphrase,
		KnownHosts: r.KnownHosts, HostKey: r.HostKey, Timeout: connectTimeout,
	})
}

// look reads facts and marks.
func (r *Run) look(ctx context.Context, t *Target) error {
	sent := time.Now()
	f, err := t.Agent.Facts(ctx, node.FactsRequest{
		Modules: []string{"overlay", "br_netfilter", "ip_vs", "ip_vs_rr", "nf_conntrack"},
		Tools:   []string{"bash", "tar", "systemctl", "iptables", "mount", "modprobe"},
		Paths:   []string{dataRoot, "/var/lib/registry", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet"},
	})
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	// Half the round trip is the best guess of when the host read its clock.
	t.skew = time.Unix(0, f.UnixNano).Sub(sent.Add(time.Since(sent) / 2))
	t.Facts = f
	if err := r.readMarks(ctx, t); err != nil {
		return err
	}
	t.looked = true
	return nil
}

func (r *Run) readMarks(ctx context.Context, t *Target) error {
	paths := []string{}
	for _, m := range r.allMarks() {
		paths = append(paths, r.markPath(m))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read what was done before: %w", err)
	}
	t.marks = map[string]string{}
	for p, content := range found {
		t.marks[path.Base(p)] = strings.TrimSpace(string(content))
	}
	return nil
}

func (r *Run) allMarks() []string {
	marks := []string{markOurs, markRegistry, markInit, markBegun, markJoined, markKubeAdmin}
	for _, i := range r.images {
		marks = append(marks, guestMark(i))
	}
	return marks
}

// judge turns facts into problems.
func (r *Run) judge() []Problem {
	var problems []Problem
	var seen []*Target
	skews := []time.Duration{}
	for _, t := range r.Targets {
		if t.looked {
			seen = append(seen, t)
			skews = append(skews, t.skew)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	slices.Sort(skews)
	middle := skews[len(skews)/2]
	for _, t := range seen {
		problems = append(problems, problemsOf(t.IP.String(), t.Master, t.begun(), t.Facts, r.arch(), r.needOf(t), t.skew-middle)...)
	}
	problems = append(problems, clusterProblems(seen, r.vip())...)
	if m := r.master0(); m.looked && !m.joined() {
		for _, t := range seen {
			if t.joined() {
				problems = append(problems, Problem{
					Host: m.IP.String(), Check: "first master",
					Message: fmt.Sprintf("it is not in the cluster, but %s is: it would start a second cluster", t.IP),
					Remedy:  "name a master first that is in the cluster",
				})
				break
			}
		}
	}
	return problems
}

// needOf computes the disk space a host needs from the bundle. A host where the
// cluster was begun holds some of it already, so nothing is asked of it.
func (r *Run) needOf(t *Target) need {
	if t.begun() {
		return nil
	}
	n := need{}
	var images int64
	for _, i := range r.Bundle.Images() {
		if i.Kind == bundleKindImage {
			images += i.Size
		}
	}
	for _, i := range r.images {
		if i.Type != installer.TypeApplication || t == r.master0() {
			for _, l := range i.Layers {
				n[dataRoot] += l.Size
			}
		}
	}
	if t.Master {
		n["/var/lib/registry"] += images
	}
	// Unpacked images take about twice their compressed size, beside the blobs.
	n["/var/lib/containerd"] += 3 * images
	return n
}

// checkScripts runs the check script of the rootfs and patch images on every
// fresh host that has no other problem, from a directory that is removed afterwards: nothing of the
// image is on the host yet.
func (r *Run) checkScripts(ctx context.Context, known []Problem) []Problem {
	img, line := r.script("check")
	if line == "" {
		return nil
	}
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) (err error) {
		hopeless := slices.ContainsFunc(known, func(p Problem) bool { return p.Host == t.IP.String() && !p.Warning })
		if !t.looked || t.begun() || hopeless {
			return nil
		}
		overlay, err := img.Overlay(img.files, r.Cluster.Configs, r.envOf(img, t))
		if err != nil {
			return err
		}
		dir := r.dir("check")
		var files []node.File
		for name, f := range img.files {
			files = append(files, node.File{Path: path.Join(dir, name), Mode: f.Mode, Content: f.Content})
		}
		for name, f := range overlay {
			files = append(files, node.File{Path: path.Join(dir, name), Mode: f.Mode, Content: f.Content})
		}
		defer func() {
			cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
			defer cancel()
			err = errors.Join(err, t.Agent.Remove(cctx, []string{dir}))
		}()
		if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
			return err
		}
		return r.runScript(ctx, t, "check", path.Join(dir, "scripts"), line, r.envOf(img, t))
	})
	return problemsFrom(err, "check.sh")
}

// withdraw removes what this run brought to hosts where the cluster was never begun.
func (r *Run) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	return r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error {
		if t.Link == nil || !t.putStub || t.begun() {
			return nil
		}
		// rmdir keeps what is not empty, which is not ours to remove.
		script := "rm -f " + host.Quote(stubPath) + "; rmdir " + host.Quote(path.Dir(stubPath), r.dir(), dataRoot+"/data", dataRoot) + " 2>/dev/null; true"
		if err := t.Link.Run(ctx, host.Cmd{Argv: []string{"/bin/sh", "-c", script}, Root: true}); err != nil {
			return fmt.Errorf("take %s away again: %w", stubPath, err)
		}
		t.putStub = false
		return nil
	})
}

// problemsFrom takes joined host errors apart.
func problemsFrom(err error, check string) []Problem {
	var out []Problem
	for _, e := range unjoin(err) {
		p := Problem{Check: check, Message: e.Error(), Remedy: "see the cause"}
		var he *installer.HostError
		if errors.As(e, &he) {
			p.Host, p.Message = he.Host, he.Err.Error()
		}
		var hostErr *host.Error
		if errors.As(e, &hostErr) {
			p.Message = strings.TrimSuffix(hostErr.Kind.Error()+": "+fmt.Sprint(hostErr.Err), ": <nil>")
			if hostErr.Remedy != "" {
				p.Remedy = hostErr.Remedy
			}
		}
		var answered *node.Error
		if errors.As(e, &answered) {
			p.Message = answered.Verb + ": " + answered.Message
			if answered.Remedy != "" {
				p.Remedy = answered.Remedy
			}
		}
		var script *node.ScriptError
		if errors.As(e, &script) {
			p.Message, p.Remedy = "the image's check script fails: "+strings.Join(script.Tail, " / "), "mend what it names, then run the same command again"
		}
		out = append(out, p)
	}
	return out
}

// unjoin lists the errors that errors.Join put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		if _, single := err.(*host.Error); !single {
			var out []error
			for _, e := range j.Unwrap() {
				out = append(out, unjoin(e)...)
			}
			return out
		}
	}
	return []error{err}
}

// runScript runs one script of an image on a host and logs its output.
func (r *Run) runScript(ctx context.Context, t *Target, step, dir, line string, env map[string]string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("no end after %s (--timeout)", r.Timeout))
	defer cancel()
	log := r.Report.Output(t.IP.String(), step, line)
	defer closeLog(log)
	var out bytes.Buffer
	return t.Agent.Script(ctx, node.ScriptRequest{Dir: dir, Line: "bash " + line, Env: env}, io.MultiWriter(log, &out))
}

func closeLog(c io.Closer) { _ = c.Close() } // it only flushes a last line

// isLocal tells whether an address is one of this machine's.
func isLocal(ip netip.Addr) bool { return slices.Contains(localAddresses(), ip) }
