package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// Members adds masters and takes hosts out and in again, while an application and the API are asked without a pause: nothing may
// fail, and a host that was taken out is as clean as before. What would cost the quorum is refused.
func Members(ctx context.Context, out io.Writer) (err error) {
	m, err := openMembers(ctx, newStory(out), 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(m.end(ctx), err, m.Close()) }()
	before, err := m.snapshots(ctx)
	if err != nil {
		return err
	}
	first, second, third, last := m.Masters[0], m.Masters[1], m.Masters[2], m.Nodes[1]
	m.Masters = m.Masters[:1]
	if err := m.begin(ctx); err != nil {
		return err
	}
	m.load.enter(true, "nothing happens")
	if err := wait(ctx, 10*time.Second); err != nil {
		return err
	}
	m.Masters = []*testbed.Host{first, second, third}
	if err := m.added(ctx, "from 1 to 3 masters", addTwoMasters); err != nil {
		return err
	}
	if err := m.replacedLive(ctx, last, before, deleteNode, addNode); err != nil {
		return err
	}
	if err := m.replacedLive(ctx, second, before, deleteMaster, addMaster); err != nil {
		return err
	}
	if err := m.keepsItsQuorum(ctx, third); err != nil {
		return err
	}
	return m.nothingMoreToDo(ctx)
}

// memberSite is a site whose hosts come and go. Masters and Nodes are the members of now.
type memberSite struct {
	*Site
	st       *story
	load     *load
	order    []*testbed.Host // as the commands of the document count them
	took     []StepFigure    // how long each command was
	findings []error         // what did not hold; the story goes on where it can
}

// openMembers builds the bundle and boots masters and two nodes. The program that asks is brought before anything else, so that
// it is no trace of the cluster.
func openMembers(ctx context.Context, st *story, masters int) (*memberSite, error) {
	site, err := buildAndOpen(ctx, st, masters, 2)
	if err != nil {
		return nil, err
	}
	m := &memberSite{Site: site, st: st, order: slices.Concat(site.Masters[:3], site.Nodes, site.Masters[3:])}
	if m.load, err = prepareLoad(ctx, st, site); err != nil {
		return nil, errors.Join(err, site.Close())
	}
	return m, nil
}

func (m *memberSite) all() []*testbed.Host { return slices.Concat(m.Masters, m.Nodes) }

// begin installs, and begins to ask.
func (m *memberSite) begin(ctx context.Context) error {
	m.st.heading("sealinstall: %d masters and %d nodes", len(m.Masters), len(m.Nodes))
	start := time.Now()
	if _, _, err := m.install(ctx, m.st); err != nil {
		return err
	}
	m.took = append(m.took, StepFigure{fmt.Sprintf("install %d+%d", len(m.Masters), len(m.Nodes)), time.Since(start).Seconds()})
	if err := m.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	return m.load.deploy(ctx)
}

// found notes what does not hold.
func (m *memberSite) found(during string, err error) {
	if err == nil {
		return
	}
	m.st.say("  FINDING, %s: %v", during, err)
	m.findings = append(m.findings, fmt.Errorf("%s: %w", during, err))
}

// run is a documented command on the first of the masters that are left, which answers nothing.
func (m *memberSite) run(ctx context.Context, command string, more ...string) (Summary, testbed.Result, error) {
	args := append(withAddresses(command, addressList(m.order)), more...)
	if args[0] == "delete" {
		args = append(args, "--yes")
	}
	start := time.Now()
	sum, res, err := m.sealinstall(ctx, m.st, args...)
	m.took = append(m.took, StepFigure{strings.Join(args, " "), time.Since(start).Seconds()})
	return sum, res, err
}

// settle waits until a change of members has arrived everywhere.
func (m *memberSite) settle(ctx context.Context, what string) error {
	m.found(what, m.exact(ctx, time.Now()))
	if err := m.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	if len(m.Nodes) > 1 {
		m.found(what, m.spreadOut(ctx, "load", "app=asked"))
	}
	m.found(what, m.spreadOut(ctx, "kube-system", "k8s-app=kube-dns"))
	return m.show(ctx, m.st, "get", "pods", "-A", "-o", "wide")
}

// added runs a command that takes hosts in, which are members already as far as the site's lists are concerned.
func (m *memberSite) added(ctx context.Context, what, command string, more ...string) error {
	m.st.heading("%s", what)
	m.load.enter(true, "%s", what)
	if _, _, err := m.run(ctx, command, more...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return m.settle(ctx, what)
}

// without is a list of hosts that lacks one.
func without(hosts []*testbed.Host, gone *testbed.Host) []*testbed.Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h *testbed.Host) bool { return h == gone })
}

// replacedLive takes a living host out, finds it clean, and takes it in again.
func (m *memberSite) replacedLive(ctx context.Context, h *testbed.Host, before [][]string, remove, add string) error {
	what := h.Name + " is deleted while it lives"
	m.st.heading("%s", what)
	if err := m.load.stop(h); err != nil { // whoever asks from there goes first
		return err
	}
	m.load.enter(true, "%s", what)
	masters, nodes := m.Masters, m.Nodes
	m.Masters, m.Nodes = without(masters, h), without(nodes, h)
	if _, _, err := m.run(ctx, remove); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	m.found(what, m.isClean(ctx, h, before))
	if err := m.settle(ctx, what); err != nil {
		return err
	}
	m.Masters, m.Nodes = masters, nodes
	if err := m.added(ctx, h.Name+" is taken in again", add); err != nil {
		return err
	}
	if slices.Contains(nodes, h) {
		return m.load.start(ctx, h)
	}
	return nil
}

// isClean compares a host with what it was before the cluster.
func (m *memberSite) isClean(ctx context.Context, h *testbed.Host, before [][]string) error {
	after, err := h.Snapshot(ctx)
	if err != nil {
		return err
	}
	var left []string
	for _, d := range diff(before[slices.Index(m.Hosts, h)], after) {
		if !expectedAfterReset(d) {
			left = append(left, d)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d differences to what %s was before:\n%s", len(left), h.Name, strings.Join(left[:min(len(left), 40)], "\n"))
	}
	m.st.say("%s is as it was before: files, mounts, ports, packet filter, links, routes, units", h.Name)
	return nil
}

// keepsItsQuorum asks to delete one of two living masters while the third is dead.
func (m *memberSite) keepsItsQuorum(ctx context.Context, dead *testbed.Host) error {
	m.st.heading("%s is dead, and one of the two others is to be deleted", dead.Name)
	m.load.enter(false, "%s loses its power", dead.Name)
	if err := dead.PowerOff(ctx); err != nil {
		return err
	}
	if err := m.load.waitQuiet(ctx, 2*time.Minute); err != nil {
		return err
	}
	what := "the second of two living masters"
	m.load.enter(true, "%s is asked to be deleted", what)
	before, err := m.fingerprint(ctx, dead)
	if err != nil {
		return err
	}
	_, res, err := m.run(ctx, deleteMaster)
	m.st.say("status %d: %v", res.Code, err)
	said := res.Stdout + res.Stderr
	if res.Code != 3 {
		m.found(what, fmt.Errorf("status %d, want 3: %v", res.Code, err))
	}
	for _, word := range []string{"delete", "--dead", dead.Addr} {
		if !strings.Contains(said, word) {
			m.found(what, fmt.Errorf("the refusal does not name %q", word))
		}
	}
	after, err := m.fingerprint(ctx, dead)
	if err != nil {
		return err
	}
	if d := diff(before, after); len(d) > 0 {
		m.found(what, fmt.Errorf("the refused command changed:\n%s", strings.Join(d, "\n")))
	}
	m.st.heading("%s is back", dead.Name)
	m.load.enter(false, "%s is back", dead.Name)
	if err := m.back(ctx, dead); err != nil {
		return err
	}
	return m.settle(ctx, dead.Name+" is back")
}

// fingerprint is what a refused command must leave as it is: the files of the hosts that live, members of etcd, nodes. Files of
// more than 4 MiB are known by size, inode and time, since the roots of a host are gigabytes.
func (m *memberSite) fingerprint(ctx context.Context, dead *testbed.Host) ([]string, error) {
	const files = `{ find /etc /var/lib/sealos /var/lib/kubelet/config.yaml /root/.sealos -xdev -type f -not -path '*/logs/*' -not -path '*/reports/*' -not -path '*/kubectl-of-test/*' \
	-not -name lock \( -size +4M -printf '%s %i %T@ %p\n' -o -exec sha256sum {} + \); } | sort`
	hosts := without(m.all(), dead)
	found := make([][]string, len(hosts))
	asks, asking := errgroup.WithContext(ctx)
	for i, h := range hosts {
		asks.Go(func() error {
			res, err := h.Exec(asking, "sh", "-c", files)
			for line := range strings.Lines(res.Stdout) {
				found[i] = append(found[i], h.Name+": "+strings.TrimSpace(line))
			}
			return err
		})
	}
	if err := asks.Wait(); err != nil {
		return nil, err
	}
	out := slices.Concat(found...)
	list, err := m.members(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := m.kubectl(ctx, "get", "nodes", "-o", `jsonpath={range .items[*]}node {.metadata.name} {.spec.unschedulable}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list + "\n" + nodes) {
		out = append(out, strings.TrimSpace(line))
	}
	slices.Sort(out)
	return out, nil
}

// nothingMoreToDo repeats the installation and the adding of every host.
func (m *memberSite) nothingMoreToDo(ctx context.Context) error {
	m.st.heading("the same again")
	m.load.enter(true, "install and add are run again")
	sum, _, err := m.install(ctx, m.st)
	if err != nil {
		return err
	}
	if sum.Changes != 0 {
		m.found("a further install", fmt.Errorf("%d changes: %+v", sum.Changes, sum.Steps))
	}
	args := []string{"add", "--masters", addresses(m.Masters), "--nodes", addresses(m.Nodes)}
	if sum, _, err = m.sealinstall(ctx, m.st, args...); err != nil {
		return err
	}
	if sum.Changes != 0 {
		m.found("a further add", fmt.Errorf("%d changes: %+v", sum.Changes, sum.Steps))
	}
	return m.isHealthy(ctx)
}

// isHealthy asks for the status, as the document has it.
func (m *memberSite) isHealthy(ctx context.Context) error {
	res, err := m.asked(ctx)
	if err != nil {
		m.found("status of the whole cluster", fmt.Errorf("%w\n%s", err, res.Stdout))
	}
	return nil
}

// asked runs status. It is an error if the cluster is not healthy.
func (m *memberSite) asked(ctx context.Context) (testbed.Result, error) {
	argv := append([]string{m.file}, withAddresses(askStatus, nil)...)
	start := time.Now()
	res, err := m.master0().Run(ctx, testbed.Command{Argv: append(argv, "-o", "json"), Dir: "/root"})
	m.took = append(m.took, StepFigure{"status", time.Since(start).Seconds()})
	m.st.say("%s# ./%s status -o json\n%s%s", m.master0().Name, filepath.Base(m.file), res.Stdout, res.Stderr)
	if err == nil && !json.Valid([]byte(res.Stdout)) {
		err = errors.New("what status prints is no JSON")
	}
	return res, err
}

// end tells the figures and all that was found, also of a story that broke off.
func (m *memberSite) end(ctx context.Context) error {
	m.found("the asking", m.load.stopAll())
	m.st.heading("figures")
	for _, f := range m.took {
		m.st.say("  %-70s %6.1f s", f.Step, f.Seconds)
	}
	return errors.Join(errors.Join(m.findings...), m.load.report(ctx), m.onlyServicesEscaped(ctx, m.st))
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
