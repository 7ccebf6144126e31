package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/nodes"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/sealos"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

// check reaches every host, reads its facts and reports every problem of every host at once. If the run goes no further,
// the stub is taken away from the hosts again.
func (r *Run) check(ctx context.Context) (installer.Result, error) {
	r.Payload.OntoCluster = true
	if err := r.Load(ctx); err != nil {
		return installer.Result{}, err
	}
	known := r.Payload.Rootfs().Name
	r.WarnOfScripts()
	r.verifyInBackground(ctx)
	measured := r.measureInBackground(ctx)
	problems := r.Open(ctx)
	sizes := <-measured
	if sizes.err != nil {
		return installer.Result{}, sizes.err
	}
	differ, err := r.Ledger.Compare(ctx)
	if err != nil {
		return installer.Result{}, err
	}
	if len(differ) > 0 { // the hosts are of another cluster: no other check says anything about this one
		return installer.Result{}, &preflight.Error{Problems: append(problems, differ...)}
	}
	if r.Payload.Adds() {
		unfit, err := site.Adding{Site: r.Site}.MeetRootfs(ctx, known)
		if err != nil {
			return installer.Result{}, err
		}
		if len(unfit) > 0 {
			return installer.Result{}, &preflight.Error{Problems: append(problems, unfit...)}
		}
	}
	r.mayHaveJoined = !r.Cluster.Finished() || slices.ContainsFunc(r.Targets, func(t *fleet.Target) bool { return !t.Joined() })
	if err = r.Ledger.OwnState(); err == nil {
		err = r.secrets.AdoptAndSettle(ctx)
	}
	if err != nil {
		return installer.Result{}, err
	}
	if away := r.Cluster.Away(); len(away) > 0 {
		r.Report.Infof("%s: in cluster %s and not named: left as they are, and not looked at", installer.HostList(away), r.Cluster.Name)
	}
	if r.Upgrade && !r.Preview {
		if err := r.upgrade.Mend(ctx); err != nil {
			return installer.Result{}, err
		}
	}
	problems = append(problems, exists(r, problems)...)
	problems = append(problems, r.health.Answers(ctx, len(problems) > 0)...)
	problems = append(problems, r.Ledger.RunningVersions(upgrade.Unfinished)...)
	problems = append(problems, r.judge(sizes.Sizes)...)
	problems = append(problems, r.TryPorts(ctx, r.RegistryPort())...)
	problems = append(problems, r.checkScripts(ctx, problems)...)
	if r.Upgrade {
		problems = append(problems, judgeUpgrade(ctx, r, problems, sizes.Sizes)...)
	} else {
		problems = append(problems, compareSettings(ctx, r, problems)...)
	}
	if err := ctx.Err(); err != nil {
		return installer.Result{}, context.Cause(ctx)
	}
	serious, warnings := preflight.Settle(problems, r.IgnoreChecks)
	var seen []string
	for _, t := range fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Looked }) {
		seen = append(seen, t.IP.String())
	}
	r.Report.Checked(seen, preflight.Made(r.Upgrade, len(r.Site.Leaving) > 0), func(check string) bool {
		return slices.ContainsFunc(problems, func(p preflight.Problem) bool { return p.Check == check })
	})
	for _, w := range preflight.Warnings(warnings) {
		r.Report.Warnf("%s", w)
	}
	if len(serious) > 0 { // who ends the run tells each
		return installer.Result{}, &preflight.Error{Problems: serious, Warnings: warnings}
	}
	for _, w := range warnings {
		r.Report.Problem(w.Host, w.Check, w.Message, w.Remedy, false)
	}
	if r.Upgrade {
		return installer.Result{Note: count.Of(len(r.Targets), "host")}, tellUpgrade(ctx, r, sizes.Sizes)
	}
	tellDifferences(r)
	if fresh := fleet.Only(r.Targets, func(t *fleet.Target) bool { return !t.Joined() }); len(fresh) > 0 && !r.Payload.Adds() {
		r.Report.Infof("to bring, at most: %s of rootfs to each new host (%d), %s of container images to each registry (%d)",
			humanize.IBytes(uint64(r.Payload.RootfsTravels())), len(fresh), humanize.IBytes(uint64(sizes.Registry)), len(r.Cluster.MasterIPs()))
	}
	if len(r.Site.Leaving) > 0 {
		if err := r.judgeLeaving(ctx); err != nil {
			return installer.Result{}, err
		}
	}
	note := count.Of(len(r.Targets), "host")
	if r.Payload.Adds() {
		note += "; the rootfs stays " + r.Payload.Rootfs().Name
	}
	return installer.Result{Note: note}, nil
}

// tellDifferences tells how the cluster that is wanted differs from the one that is there.
func tellDifferences(r *Run) {
	if len(r.ControlPlanes()) == 0 {
		return // all of it is new
	}
	for _, t := range r.Targets {
		if !t.Joined() {
			r.Report.Infof("+ add %s %s", t.Role(), t.IP)
		}
	}
	for _, t := range r.Site.Leaving {
		r.Report.Infof("- delete %s %s", t.Role(), t.IP)
	}
	for _, i := range r.Payload.Images {
		if !slices.Contains(r.Cluster.Kept, i.Name) {
			r.Report.Infof("+ add image %s", i.Name)
		}
	}
}

// exists gives a problem if the run is for a cluster that exists, and no master of one is there. It is for one, too, if masters are
// on record that are not looked at: without them the hosts would start a second cluster.
func exists(r *Run, known []preflight.Problem) []preflight.Problem {
	if len(r.ControlPlanes()) > 0 || len(known) > 0 {
		return nil
	}
	var away []string
	for _, m := range r.Cluster.Masters() {
		if m.Away && !m.Recorded.IsZero() {
			away = append(away, m.IP.String())
		}
	}
	switch {
	case len(away) > 0:
		return []preflight.Problem{{
			Check: "cluster", Message: fmt.Sprintf("%s: recorded as masters of cluster %s, and not looked at; no other host is in that cluster: these would start a second one", installer.HostList(away), r.Cluster.Name),
			Remedy: "give one of them its power or network back, and name it; a new cluster has a name of its own: --cluster NAME",
		}}
	case !r.Exists:
		return nil
	}
	return []preflight.Problem{{
		Check: "cluster", Message: fmt.Sprintf("no master of a cluster %s is among the hosts that answer: there is nothing to add hosts to", r.Cluster.Name),
		Remedy: "name a master that is in the cluster beside the new hosts, or make the cluster with `sealinstall run`",
	}}
}

// measured are the sizes of the bundle's content, or the error that kept them from being found.
type measured struct {
	payload.Sizes
	err error
}

// measureInBackground measures the bundle while hosts are being reached.
func (r *Run) measureInBackground(ctx context.Context) <-chan measured {
	out := make(chan measured, 1)
	go func() {
		s, err := r.Payload.Measure(ctx)
		out <- measured{s, err}
	}()
	return out
}

// judge finds the problems that the facts of hosts show.
func (r *Run) judge(s payload.Sizes) []preflight.Problem {
	seen := fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Looked })
	if len(seen) == 0 {
		return nil
	}
	middle := slices.SortedFunc(slices.Values(seen), func(a, b *fleet.Target) int { return cmp.Compare(a.Skew, b.Skew) })[len(seen)/2].Skew
	problems := preflight.OwnClock(middle)
	kube, err := r.SettingsFor(seen[0])
	if err != nil {
		problems = append(problems, preflight.Problem{Check: "configuration", Message: err.Error(), Remedy: "mend the Clusterfile, the file of --config-file, or -e"})
	}
	var hosts []preflight.Host
	for _, t := range seen {
		v := preflight.Host{
			IP: t.IP.String(), Master: t.Master, Begun: t.Begun(), Facts: t.Facts, Skew: t.Skew - middle, Alone: len(seen) == 1,
			Arch: r.archOn(t), RegistryPort: r.RegistryPort(), Needs: r.NeedOf(t, s), Settings: kube,
			Direct: r.net.DirectTargets(), Services: r.net.ServiceTargets(kube), Shielded: r.net.Shielded(t),
		}
		hosts = append(hosts, v)
		problems = append(problems, preflight.Judge(v)...)
		if len(t.Facts.KubernetesFiles) > 0 {
			serious, _ := preflight.Settle(problems, r.IgnoreChecks)
			problems = append(problems, preflight.ForeignFiles(v, t.Joined(), nodes.KnownKube(), serious)...)
		}
		if kube.EtcdDir != "" && !t.BegunKubeadm() && !t.Journal.Has(journal.EtcdData) {
			problems = append(problems, preflight.EtcdDirs(v.IP, t.Facts.Dirs, kube.EtcdDir)...)
		}
	}
	problems = append(problems, preflight.JudgeTogether(hosts, r.Payload.VIP(r.Cluster), kube)...)
	problems = append(problems, tunnelled(seen)...)
	return append(problems, r.secondCluster(seen)...)
}

// secondCluster refuses a first master that is in no cluster, if other hosts are in one.
func (r *Run) secondCluster(seen []*fleet.Target) []preflight.Problem {
	m := r.Master0()
	i := slices.IndexFunc(seen, (*fleet.Target).Joined)
	if !m.Looked || m.Joined() || i < 0 {
		return nil
	}
	return []preflight.Problem{{
		Host: m.IP.String(), Check: "first-master",
		Message: fmt.Sprintf("it is not in the cluster, but %s is: it would start a second cluster", seen[i].IP),
		Remedy:  "name a master first that is in the cluster",
	}}
}

// checkScripts runs the check script of the rootfs and patches on every host that has no other problem. Nothing of the
// images is on the host yet, so the script runs in a directory of its own, which is removed afterwards. On a host where the
// cluster was begun it runs again if its inputs have changed: a setting, or the script. A script of images made for sealos
// does not: it would find the cluster's own ports taken. [imagedirs.Dirs.CheckAgain] does what is left of it.
func (r *Run) checkScripts(ctx context.Context, known []preflight.Problem) []preflight.Problem {
	err := r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) (err error) {
		hopeless := slices.ContainsFunc(known, func(p preflight.Problem) bool {
			return (p.Host == t.IP.String() || p.Host == "") && !p.Warning && !slices.Contains(r.IgnoreChecks, p.Check)
		})
		img, line := r.Share(t).Script("check")
		if !t.Looked || hopeless || line == "" || r.Payload.Adds() || t.Begun() && r.PlainRegistry(t) {
			return nil
		}
		small, err := r.Share(t).SystemFiles()
		if err != nil {
			return err
		}
		env := r.Share(t).Env(img)
		inputs := journal.Inputs(line, env, small)
		if t.Journal.Is(journal.Preflight, inputs) {
			return nil
		}
		dir := r.Dir("check")
		var files []agent.File
		for name, f := range small {
			files = append(files, agent.File{Path: path.Join(dir, name), Mode: f.Mode, Content: f.Content})
		}
		defer func() {
			cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fleet.ConnectTimeout)
			defer cancel()
			err = errors.Join(err, t.Agent.Remove(cctx, []string{dir}))
		}()
		if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
			return err
		}
		env["SEALOS_SYS_SEALINSTALL"] = t.Stub // installer.StubPath is not there before the first change
		err = r.RunScript(ctx, t, "check", path.Join(dir, "scripts"), line, env)
		if err != nil && r.PlainRegistry(t) && sealos.LacksFiles(err) {
			r.Report.Infof("%s: the image's check script needs files that are not on the host yet; it runs again once they are", t.IP)
			return nil
		}
		if err == nil {
			t.Checked = inputs
		}
		return err
	})
	return preflight.From(err, "check.sh")
}

// recordChecks sets the marks of check scripts that have passed, once the run begins to change hosts.
func (r *Run) recordChecks(ctx context.Context) error {
	return r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		if t.Checked == "" {
			return nil
		}
		return t.Journal.Set(ctx, journal.Preflight, t.Checked)
	})
}

// archOn is the architecture that a host must have.
func (r *Run) archOn(t *fleet.Target) string { return cmp.Or(t.Arch, r.Payload.ArchOfFirst()) }

// tunnelled finds hosts that are named by the near end of a tunnel. Other hosts that use that address would reach
// themselves.
func tunnelled(seen []*fleet.Target) []preflight.Problem {
	var out []preflight.Problem
	for _, t := range seen {
		if t.Tunnel {
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "tunnel",
				Message: fmt.Sprintf("%s:%d is the end of a tunnel on this machine; hosts of a cluster are named by the addresses that they have for each other", t.IP, t.SSH.Port),
				Remedy:  fmt.Sprintf("name the host by its own address, and let ssh find the tunnel, in ~/.ssh/config: Host ADDRESS, HostName %s, Port %d; or use --jump", t.IP, t.SSH.Port),
			})
		}
	}
	return out
}
