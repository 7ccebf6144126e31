package steps

import (
	"context"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/compat"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

// judgeUpgrade finds what stands in the way of an upgrade. known are the problems that are known already: where hosts are not
// reached or the cluster does not answer, it is not asked. Of an upgrade that is under way, hosts are half way; what is found there
// is told, and each host has to pass its gate anyway.
func judgeUpgrade(ctx context.Context, r *Run, known []preflight.Problem, sizes payload.Sizes) []preflight.Problem {
	problems := r.upgrade.Judge()
	if serious, _ := preflight.Settle(slices.Concat(known, problems), r.IgnoreChecks); len(serious) > 0 && !unreached(serious) || r.onlyAdds() {
		return problems
	}
	found, err := compat.Compat{Site: r.Site, Sizes: sizes}.Look(ctx, r.upgrade.From(), r.upgrade.To())
	if err != nil {
		return append(problems, preflight.From(err, "version")...)
	}
	for _, p := range found {
		p.Warning = p.Warning || r.upgrade.UnderWay() && p.Check != "version" && p.Check != "connect"
		problems = append(problems, p)
	}
	drift, err := r.settings.Drifted(ctx)
	if err != nil {
		return append(problems, preflight.From(fmt.Errorf("look whether somebody has changed settings by hand: %w", err), "settings")...)
	}
	return append(problems, drift...)
}

// unreached tells whether problems are about nothing but hosts that do not answer.
func unreached(problems []preflight.Problem) bool {
	return !slices.ContainsFunc(problems, func(p preflight.Problem) bool { return p.Check != "connect" })
}

// tellUpgrade says what an upgrade does, and asks the operator if it does anything.
func tellUpgrade(ctx context.Context, r *Run, sizes payload.Sizes) error {
	lines, err := r.upgrade.Tell(ctx, sizes)
	if err != nil {
		return err
	}
	for _, line := range lines {
		r.Report.Infof("%s", line)
	}
	r.mayHaveJoined = r.mayHaveJoined || len(lines) > 0 // pods that were drained may come together on one host
	if len(lines) == 0 || r.ConfirmUpgrade == nil {
		return nil
	}
	return r.ConfirmUpgrade(lines)
}

// snapshot saves what etcd holds, on every master, before anything is changed.
func snapshot(r *Run, ctx context.Context) (installer.Result, error) {
	pending, err := r.upgrade.Pending()
	if err != nil || len(pending) == 0 {
		return installer.Result{}, err
	}
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	saved, bytes, err := r.upgrade.Save(ctx)
	return installer.Result{Changes: saved, Note: humanize.IBytes(uint64(bytes)) + " on each master"}, err
}

// stage brings the new rootfs beside the one in use on every host, and has the new images pulled. Nothing that runs is disturbed.
func stage(r *Run, ctx context.Context) (installer.Result, error) {
	if err := r.recordChecks(ctx); err != nil {
		return installer.Result{}, err
	}
	switched, err := r.UseStubs(ctx)
	if err != nil {
		return installer.Result{}, fmt.Errorf("put this run's installer into use: %w", err)
	}
	changes, sent, err := r.upgrade.Stage(ctx)
	if err != nil {
		return installer.Result{Changes: switched + changes}, err
	}
	settled, err := r.net.Settle(ctx) // an earlier version may have known less of what a host needs
	return installer.Result{Changes: switched + changes + settled, Note: sentInAll(sent)}, err
}

// upgradeMasters brings masters to what the bundle brings, one after the other.
func upgradeMasters(r *Run, ctx context.Context) (installer.Result, error) {
	n, err := r.upgrade.MastersFollow(ctx, "upgrade-masters")
	return installer.Result{Changes: n, Note: fmt.Sprintf("%d of %s", n, count.Of(len(fleet.Only(r.Masters(), (*fleet.Target).InCluster)), "master"))}, err
}

// upgradeAddons has kubeadm upgrade the add-ons, and waits until they run.
func upgradeAddons(r *Run, ctx context.Context) (installer.Result, error) {
	n, note, err := r.upgrade.AddonsFollow(ctx, "upgrade-addons")
	return installer.Result{Changes: n, Note: note}, err
}

// upgradeNodes brings workers to what the bundle brings, some at a time.
func upgradeNodes(r *Run, ctx context.Context) (installer.Result, error) {
	n, err := r.upgrade.NodesFollow(ctx, "upgrade-nodes")
	return installer.Result{Changes: n, Note: fmt.Sprintf("%d of %s", n, count.Of(len(r.Workers()), "node"))}, err
}

// checkRollback reaches every host, and finds what keeps hosts from going back.
func checkRollback(r *Run, ctx context.Context) (installer.Result, error) {
	r.Payload.OntoCluster = true
	if err := r.Load(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.Open(ctx), nil); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.Ledger.Compare(ctx)); err != nil {
		return installer.Result{}, err
	}
	err := r.Ledger.OwnState()
	if err == nil {
		err = r.secrets.AdoptAndSettle(ctx)
	}
	if err == nil {
		err = refused(r.health.Answers(ctx, false), nil)
	}
	if err != nil {
		return installer.Result{}, err
	}
	lines, problems, err := r.upgrade.TellBack(ctx)
	if err := refused(problems, err); err != nil {
		return installer.Result{}, err
	}
	hosts := len(lines)
	addons, err := upgrade.TellAddonsBack(ctx, r.upgrade)
	if err != nil {
		return installer.Result{}, err
	}
	lines = append(lines, addons...)
	for _, line := range lines {
		r.Report.Infof("%s", line)
	}
	if len(lines) > 0 && r.ConfirmUpgrade != nil {
		err = r.ConfirmUpgrade(lines)
	}
	return installer.Result{Note: count.Of(hosts, "host goes back", "hosts go back")}, err
}

// rollback gives hosts back what they ran before, the one that came last first, and then the add-ons.
func rollback(r *Run, ctx context.Context) (installer.Result, error) {
	n, err := r.upgrade.AllBack(ctx, "rollback")
	if err == nil {
		var more int
		more, err = upgrade.End(ctx, r.upgrade, "rollback")
		n += more
	}
	r.Ledger.WentBack = err == nil
	if err == nil {
		err = r.registry.NoteBundle(ctx, agent.BundleLeft)
	}
	return installer.Result{Changes: n}, err
}
