package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// Upgrade installs three masters and two nodes with an older file and upgrades them with a newer one that leaves out what the site
// has, while an application and the API are asked without a pause: nothing may fail. What must be refused is refused, and a host
// that is taken in later has the new version.
func Upgrade(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	b, stop, err := build(ctx, st, recipe{images: (*Built).byDifference, before: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.work.remove()) }()
	if err := stop(); err != nil {
		return err
	}
	u, err := openUpgrade(ctx, st, b, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(u.end(ctx), err, u.Bed.Close()) }()
	third := u.Nodes[2]
	u.Nodes = u.Nodes[:2]
	if err := u.begin(ctx); err != nil {
		return err
	}
	if err := u.changesNothing(ctx, "the new file without a verb", exitRefused, []string{newOnSite + " upgrade --dry-run", newKubernetes}, newOnSite); err != nil {
		return err
	}
	if err := u.changesNothing(ctx, "the plan", 0, []string{oldKubernetes, newKubernetes, "asked"}, newOnSite, "upgrade", "--dry-run"); err != nil {
		return err
	}
	applied := fmt.Sprintf("%[1]s gen --masters %[2]s --nodes %[3]s >wanted.yaml && %[1]s apply -f wanted.yaml --dry-run", newOnSite, addresses(u.Masters), addresses(u.Nodes))
	if err := u.changesNothing(ctx, "a Clusterfile applied with the new file", 0, []string{oldKubernetes, newKubernetes, "asked"}, "sh", "-c", applied); err != nil {
		return err
	}
	if err := u.upgraded(ctx); err != nil {
		return err
	}
	u.found("after the upgrade", u.runsNew(ctx))
	if err := u.nothingMoreToUpgrade(ctx); err != nil {
		return err
	}
	if err := u.addedLater(ctx, third); err != nil {
		return err
	}
	for _, args := range [][]string{
		slices.Concat([]string{oldOnSite, "--masters", addresses(u.Masters), "--nodes", addresses(u.Nodes)}, siteFlags()),
		{oldOnSite, "add", "--nodes", third.Addr},
		{oldOnSite, "upgrade", "--yes"},
	} {
		if err := u.changesNothing(ctx, "the old file", exitRefused, []string{newKubernetes}, args...); err != nil {
			return err
		}
	}
	return u.isHealthy(ctx)
}

// exitRefused is the status of a run that the cluster's state forbids.
const exitRefused = 3

// upgradeSite is a site with an older file and a newer one.
type upgradeSite struct {
	*memberSite
	before, after release
	kept          *outage
}

// openUpgrade boots three masters and nodes. The program that asks is brought before anything else.
func openUpgrade(ctx context.Context, st *story, b Built, nodes int) (*upgradeSite, error) {
	site, err := openSite(ctx, st, b, 3, nodes)
	if err != nil {
		return nil, err
	}
	u := &upgradeSite{memberSite: &memberSite{Site: site, st: st, order: slices.Clone(site.Hosts)}}
	if u.before, u.after, err = b.releases(ctx); err == nil {
		u.load, err = prepareLoad(ctx, st, site)
	}
	if err == nil {
		_, err = site.Nodes[0].Exec(ctx, "mkdir", "-p", "/srv/kept")
	}
	if err != nil {
		return nil, errors.Join(err, site.Bed.Close())
	}
	return u, nil
}

// begin installs the old version, and begins to ask.
func (u *upgradeSite) begin(ctx context.Context) error {
	u.st.heading("%s: %d masters and %d nodes with Kubernetes %s", filepath.Base(u.file), len(u.Masters), len(u.Nodes), oldKubernetes)
	start := time.Now()
	if _, _, err := u.install(ctx, u.st); err != nil {
		return err
	}
	u.took = append(u.took, StepFigure{"install " + oldKubernetes, time.Since(start).Seconds()})
	if err := u.waitPods(ctx, barePatience); err != nil {
		return err
	}
	if err := u.show(ctx, u.st, "get", "nodes", "-o", "wide"); err != nil {
		return err
	}
	u.load.enter(true, "nothing happens")
	if err := u.load.begin(ctx); err != nil {
		return err
	}
	u.kept = u.watchKept(ctx)
	return nil
}

// upgraded is the upgrade.
func (u *upgradeSite) upgraded(ctx context.Context) error {
	const what = "the upgrade"
	u.st.heading("%s", what)
	u.load.enter(true, "%s", what)
	u.file = newOnSite
	u.kept.forget()
	start := time.Now()
	sum, _, err := u.sealinstall(ctx, u.st, "upgrade", "--yes")
	u.took = append(u.took, StepFigure{"upgrade", time.Since(start).Seconds()})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, s := range sum.Steps {
		u.took = append(u.took, StepFigure{"  " + s.Step, s.Seconds})
	}
	if err := u.waitPods(ctx, barePatience); err != nil {
		return err
	}
	u.found(what, u.kept.within(keptLimit))
	return u.show(ctx, u.st, "get", "pods", "-A", "-o", "wide")
}

// changesNothing runs a file that must end with a status, name some words and leave everything as it is.
func (u *upgradeSite) changesNothing(ctx context.Context, what string, code int, words []string, argv ...string) error {
	u.st.heading("%s changes nothing: %s", what, strings.Join(argv, " "))
	u.load.enter(true, "%s is run: %s", what, strings.Join(argv[1:], " "))
	before, err := u.fingerprint(ctx, nil)
	if err != nil {
		return err
	}
	start := time.Now()
	res, err := u.master0().Run(ctx, testbed.Command{Argv: argv, Dir: "/root"})
	if ctx.Err() != nil {
		return err
	}
	said := res.Stdout + res.Stderr
	u.st.say("%s\nstatus %d after %.1f s", strings.TrimSpace(said), res.Code, time.Since(start).Seconds())
	if res.Code != code {
		u.found(what, fmt.Errorf("status %d, want %d", res.Code, code))
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			u.found(what, fmt.Errorf("it does not name %q", word))
		}
	}
	after, err := u.fingerprint(ctx, nil)
	if err != nil {
		return err
	}
	if d := diff(before, after); len(d) > 0 {
		u.found(what, fmt.Errorf("it changed:\n%s", strings.Join(d[:min(len(d), 40)], "\n")))
	}
	return nil
}

// nothingMoreToUpgrade repeats the upgrade.
func (u *upgradeSite) nothingMoreToUpgrade(ctx context.Context) error {
	const what = "the same upgrade again"
	u.st.heading("%s", what)
	u.load.enter(true, "%s", what)
	sum, _, err := u.sealinstall(ctx, u.st, "upgrade", "--yes")
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if sum.Changes != 0 {
		u.found(what, fmt.Errorf("%d changes: %+v", sum.Changes, sum.Steps))
	}
	return u.isHealthy(ctx)
}

// addedLater takes a node in that was in no cluster.
func (u *upgradeSite) addedLater(ctx context.Context, h *testbed.Host) error {
	what := h.Name + " is taken in after the upgrade"
	u.st.heading("%s", what)
	u.load.enter(true, "%s", what)
	u.Nodes = append(u.Nodes, h)
	if _, _, err := u.sealinstall(ctx, u.st, "add", "--nodes", h.Addr); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	u.found(what, u.exact(ctx, time.Now()))
	u.found(what, u.runsNew(ctx))
	return nil
}

// end stops what asks, and tells the figures and all that was found.
func (u *upgradeSite) end(ctx context.Context) error {
	u.kept.stop()
	return u.memberSite.end(ctx)
}

// keptLimit is how long the application that can run on one host only may be away when that host is changed.
const keptLimit = 60 * time.Second

// outage watches an application that may be away for a while.
type outage struct {
	end, ended chan struct{}

	mu    sync.Mutex
	gaps  []time.Duration
	since time.Time // those that began before are forgotten
}

// watchKept asks the application that keeps its data on one host through the first master, four times a second.
func (u *upgradeSite) watchKept(ctx context.Context) *outage {
	o := &outage{end: make(chan struct{}), ended: make(chan struct{})}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return u.Dial(ctx, address) },
	}}
	ask := func(url string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	}
	// Two hosts, since the one that is asked may be the one that is being changed.
	urls := []string{"http://" + u.Masters[2].Addr + ":30091/healthz", "http://" + u.Nodes[1].Addr + ":30091/healthz"}
	go func() {
		defer close(o.ended)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		var since time.Time
		for {
			select {
			case <-o.end:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			begin := time.Now()
			err := ask(urls[0])
			if err != nil {
				err = ask(urls[1])
			}
			switch {
			case err != nil && since.IsZero():
				since = begin
			case err == nil && !since.IsZero():
				gap := time.Since(since)
				u.st.say("  %5.1fs the application with its data on one host was away for %.1f s", time.Since(u.st.start).Seconds(), gap.Seconds())
				o.mu.Lock()
				if since.After(o.since) {
					o.gaps = append(o.gaps, gap)
				}
				o.mu.Unlock()
				since = time.Time{}
			}
		}
	}()
	return o
}

// within fails if one of the outages took longer than a limit.
func (o *outage) within(limit time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.gaps) > 0 && slices.Max(o.gaps) > limit {
		return fmt.Errorf("the application with its data on one host was away for %v, longer than %s", o.gaps, limit)
	}
	return nil
}

// forget forgets the outages that have begun so far: an attempt that fails holds its host for as long as a gate may take, and the
// limit is for moves.
func (o *outage) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gaps, o.since = nil, time.Now()
}

func (o *outage) stop() {
	if o != nil {
		close(o.end)
		<-o.ended
	}
}
