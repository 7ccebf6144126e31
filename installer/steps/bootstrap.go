package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// bootstrap makes hosts ready for kubeadm: names, the registry on its hosts,
// then the container runtime and kubelet everywhere.
func (r *Run) bootstrap(ctx context.Context) (installer.Result, error) {
	var changes atomic.Int64
	err := r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		changed, err := r.setHosts(ctx, t, r.apiAddress(t))
		changes.Add(int64(count(changed)))
		return err
	})
	if err != nil {
		return installer.Result{}, fmt.Errorf("write /etc/hosts: %w", err)
	}
	if err := r.settleNetwork(ctx, &changes); err != nil {
		return installer.Result{}, err
	}
	shown, err := r.registryFiles(ctx, &changes)
	if err != nil {
		return installer.Result{}, err
	}
	if err := r.Each(ctx, r.Targets, r.checkAgain); err != nil {
		return installer.Result{}, err
	}
	if err := r.Each(ctx, r.registryHosts(), func(ctx context.Context, t *fleet.Target) error {
		return r.startRegistry(ctx, t, shown[t], &changes)
	}); err != nil {
		return installer.Result{}, err
	}
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		return r.initHost(ctx, t, &changes)
	})
	return installer.Result{Changes: int(changes.Load())}, err
}

func count(changed bool) int {
	if changed {
		return 1
	}
	return 0
}

// apiAddress is what apiserver.cluster.local means on a host. On a master it is
// the host itself once the control plane runs there; before, and on master0
// always, another answer would make the host wait for itself.
func (r *Run) apiAddress(t *fleet.Target) string {
	switch {
	case !t.Master:
		return r.Payload.VIP(r.Cluster)
	case t == r.Master0() || t.Journal.Has(journal.KubeadmDone):
		return t.IP.String()
	}
	return r.Master0().IP.String()
}

// setHosts writes our lines of /etc/hosts: every host's name, so that no DNS is
// needed (a kubelet that cannot resolve its own name waits ten seconds for each
// pod), the registry and the API server.
func (r *Run) setHosts(ctx context.Context, t *fleet.Target, api string) (bool, error) {
	var entries []agent.HostsEntry
	for _, h := range r.Cluster.Hosts {
		if names := r.hostnames(h.IP); len(names) > 0 {
			entries = append(entries, agent.HostsEntry{IP: h.IP.String(), Names: names})
		}
	}
	entries = append(
		entries,
		agent.HostsEntry{IP: r.share(t).RegistryHosts()[0], Names: []string{r.access().Domain}},
		agent.HostsEntry{IP: api, Names: []string{installer.APIServerDomain}},
	)
	return t.Agent.SetHosts(ctx, entries)
}

// hostnames are those of a host of the cluster. Those of one that is left out of
// this run stand in our lines on those that are not; none when nobody knows them.
func (r *Run) hostnames(ip netip.Addr) []string {
	for _, t := range r.Targets {
		if t.IP == ip {
			return t.Names()
		}
	}
	for _, t := range r.Targets {
		for _, e := range t.Facts.Hosts {
			if e.IP == ip.String() && len(e.Names) > 0 && e.Names[0] != r.access().Domain && e.Names[0] != installer.APIServerDomain {
				return e.Names
			}
		}
	}
	return nil
}

// startRegistry runs the image's init-registry script and waits until the
// registry answers with the cluster's own certificate and password. shown stands
// for these two: the script puts new ones where the registry reads them.
func (r *Run) startRegistry(ctx context.Context, t *fleet.Target, shown string, changes *atomic.Int64) error {
	img, line := r.share(t).Script("init-registry")
	if line == "" {
		return errNoRegistry
	}
	in := journal.Inputs(line, r.share(t).Env(img), r.share(t).Digests(), t.Overlays[img])
	if t.Journal.Is(journal.Registry, in) && t.Journal.Is(journal.RegistryShown, shown) {
		err := r.waitRegistry(ctx, t, registryMoment)
		if err == nil || ctx.Err() != nil {
			return err
		}
		// It was started once, and somebody has stopped it since.
		r.Report.Infof("%s: its registry does not answer; it is started again", t.IP)
	}
	return r.runRegistry(ctx, t, in, shown, changes)
}

var errNoRegistry = errors.New("no image has an init-registry script: nothing would serve the images")

// runRegistry runs the script, and records what it was run for once the registry shows it.
func (r *Run) runRegistry(ctx context.Context, t *fleet.Target, in, shown string, changes *atomic.Int64) error {
	img, line := r.share(t).Script("init-registry")
	if line == "" {
		return errNoRegistry
	}
	// What the marks say is true no more once the script has begun.
	if err := t.Journal.Drop(ctx, journal.Registry, journal.RegistryShown); err != nil {
		return err
	}
	_, err := t.Journal.Under(ctx, journal.Registry, in, func(*journal.Work) error {
		if err := r.RunScript(ctx, t, "bootstrap", path.Join(r.rootfsDir(), "scripts"), line, r.share(t).Env(img)); err != nil {
			return err
		}
		changes.Add(1)
		if err := r.waitRegistry(ctx, t, registryPatience); err != nil {
			return err
		}
		return t.Journal.Set(ctx, journal.RegistryShown, shown)
	})
	return err
}

// How long a registry may take to answer after its script ended, and one that was started before this run.
const (
	registryPatience = 60 * time.Second
	registryMoment   = 10 * time.Second
)

func (r *Run) waitRegistry(outer context.Context, t *fleet.Target, patience time.Duration) error {
	patience = min(patience, r.Timeout)
	ctx, cancel := context.WithTimeout(outer, patience)
	defer cancel()
	argv := []string{t.Stub, "registry", "ping", "https://" + t.IP.String() + ":" + r.access().Port, "--user", r.access().User}
	if r.plainRegistry(t) {
		argv[3] = strings.Replace(argv[3], "https", "http", 1)
	} else {
		argv = append(argv, "--ca", r.registryEtc("registry_ca.crt"), "--certificate", r.registryEtc("registry_tls.crt"))
	}
	for {
		res, err := t.Agent.Exec(ctx, agent.ExecRequest{
			Argv:           argv,
			Stdin:          []byte(r.passwords.pull + "\n"),
			TimeoutSeconds: 10,
		}, nil)
		if err == nil && res.Code == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if parent := context.Cause(outer); parent != nil {
				return parent
			}
			cause := strings.TrimSpace(string(res.Stderr))
			if err != nil {
				cause = installer.TellAt(err, t.IP.String())
			}
			if cause == "" {
				cause = "no cause was told"
			}
			return fmt.Errorf("the registry on port %s does not answer %s after its script ended: %s (look at `systemctl status registry` on the host)", r.access().Port, patience, cause)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// initHost runs init-cri, init and auth of the image.
func (r *Run) initHost(ctx context.Context, t *fleet.Target, changes *atomic.Int64) error {
	type step struct {
		key, line string
		img       *payload.Image
	}
	var todo []step
	var ins []any
	for _, key := range []string{"init-cri", "init", "auth"} {
		img, line := r.share(t).Script(key)
		if line == "" {
			continue
		}
		todo = append(todo, step{key, line, img})
		ins = append(ins, key, line, r.share(t).Env(img), t.Overlays[img])
	}
	in := journal.Inputs(append(ins, r.share(t).Digests())...)
	stopped, err := r.asleep(ctx, t)
	if err != nil {
		return err
	}
	if stopped != "" {
		r.Report.Infof("%s: %s, though it was set up; it is set up again", t.IP, stopped)
		if err := t.Journal.Drop(ctx, journal.Init); err != nil {
			return err
		}
	}
	_, err = t.Journal.Under(ctx, journal.Init, in, func(w *journal.Work) error {
		for i, s := range todo {
			var record []agent.File
			if i == len(todo)-1 {
				record = append(record, w.ByHost())
			}
			if err := r.RunScript(ctx, t, "bootstrap", path.Join(r.rootfsDir(), "scripts"), s.line, r.share(t).Env(s.img), record...); err != nil {
				return err
			}
			changes.Add(1)
		}
		return nil
	})
	if err == nil && stopped != "" && t.Joined() {
		return r.wake(ctx, t, "bootstrap")
	}
	return err
}
