package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// addonsBefore is what a master keeps of the add-ons as they were before an upgrade.
type addonsBefore struct {
	To     string            `json:"to"`     // what the upgrade brings, as the mark [journal.Upgrade] says it
	Images map[string]string `json:"images"` // by the names of [addons]
}

// addonsFile is where a master keeps it.
func addonsFile(u *Upgrade) string { return u.keeper().kept("addons.json") }

// addonsOf is what a master has kept of the add-ons before the upgrade of this run; it is empty if that is none of this upgrade.
func addonsOf(ctx context.Context, u *Upgrade, t *fleet.Target) (before addonsBefore, err error) {
	found, err := t.Agent.ReadFiles(ctx, []string{addonsFile(u)})
	if text, there := found[addonsFile(u)]; err == nil && there {
		err = json.Unmarshal(text, &before)
	}
	if err != nil {
		return before, fmt.Errorf("read which images the add-ons had before: %w", err)
	}
	if before.To != u.wanted(t) {
		before = addonsBefore{}
	}
	return before, nil
}

// keepAddons has a master keep which images the add-ons have, before it is upgraded. What it has kept when this upgrade was begun
// holds: a rollback that was cut off may have left them at the new ones.
func keepAddons(ctx context.Context, u *Upgrade, t *fleet.Target) error {
	before, err := addonsOf(ctx, u, t)
	if err != nil || before.To != "" {
		return err
	}
	before = addonsBefore{To: u.wanted(t), Images: map[string]string{}}
	for _, name := range addons() {
		err := u.gate().insist(ctx, func(ctx context.Context) error {
			found, gone, err := u.addon(ctx, name)
			if err == nil && !gone {
				before.Images[name] = found.image
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("ask which images the add-ons have: %w", err)
		}
	}
	text, err := json.Marshal(before)
	if err != nil {
		return err
	}
	_, err = t.Agent.WriteFiles(ctx, []agent.File{{Path: addonsFile(u), Mode: 0o600, Content: text}})
	return err
}

// newerAddons are the add-ons that have the images of the bundle of this run, where they had others before: what they have, and
// what they had. Another image than the bundle's is somebody's own.
func newerAddons(ctx context.Context, u *Upgrade) (have, had map[string]string, err error) {
	var before addonsBefore
	for _, t := range fleet.Only(u.Masters(), (*fleet.Target).InCluster) {
		if before.To == "" {
			if before, err = addonsOf(ctx, u, t); err != nil {
				return nil, nil, t.Failed(err)
			}
		}
	}
	have = map[string]string{}
	for name, was := range before.Images {
		var found workload
		err := u.gate().insist(ctx, func(ctx context.Context) (err error) {
			found, _, err = u.addon(ctx, name)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		if was != "" && found.image != was && found.image == u.brings(path.Base(name)) {
			have[name] = found.image
		}
	}
	return have, before.Images, nil
}

// TellAddonsBack says what a rollback does with the add-ons, a line for each.
func TellAddonsBack(ctx context.Context, u *Upgrade) (lines []string, err error) {
	have, had, err := newerAddons(ctx, u)
	for _, name := range addons() {
		if have[name] != "" {
			lines = append(lines, fmt.Sprintf("↓ %s: %s → %s", name, have[name], had[name]))
		}
	}
	return lines, err
}

// End ends a rollback, once all hosts are back: the add-ons follow, and no host keeps the rootfs that was staged there. It counts
// the add-ons.
func End(ctx context.Context, u *Upgrade, step string) (changes int, err error) {
	changes, all, err := addonsBack(ctx, u, step)
	if err == nil && all { // else another rollback tries again
		err = u.Each(ctx, fleet.Only(u.Masters(), (*fleet.Target).InCluster), func(ctx context.Context, t *fleet.Target) error {
			_, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: addonsFile(u), Remove: true}})
			return err
		})
	}
	if err != nil {
		return changes, err
	}
	return changes, u.Each(ctx, fleet.Only(u.Targets, (*fleet.Target).InCluster), func(ctx context.Context, t *fleet.Target) error {
		if err := u.Dirs.ForgetStaged(ctx, t, u.RootfsDir()); err != nil {
			return fmt.Errorf("remove the rootfs that was staged: %w", err)
		}
		return nil
	})
}

// addonsBack has the kubeadm that is in its place again give those add-ons back their images that have the bundle's. What it does
// not put back is told with the command that does: the cluster works, and a rollback that never ends would help nobody.
func addonsBack(ctx context.Context, u *Upgrade, step string) (changes int, all bool, err error) {
	have, had, err := newerAddons(ctx, u)
	if err != nil || len(have) == 0 {
		return 0, true, err
	}
	failed := u.upgradeAddons(ctx, step)
	for _, name := range addons() {
		if have[name] == "" {
			continue
		}
		err := failed
		if err == nil {
			err = u.gate().insist(ctx, func(ctx context.Context) error {
				found, _, err := u.addon(ctx, name)
				if err == nil && found.image != had[name] {
					err = fmt.Errorf("kubeadm has left it so")
				}
				if err != nil {
					return err
				}
				return found.rolled()
			})
		}
		switch {
		case ctx.Err() != nil:
			return changes, false, err
		case err != nil:
			u.Report.Warnf("%s does not go back from %s to %s: %v\n  Hosts are back, and it goes on running. `rollback` tries again; by hand: kubectl -n kube-system set image %s %s=%s",
				name, have[name], had[name], err, name, path.Base(name), had[name])
		default:
			u.Report.Infof("%s is back at %s", name, path.Base(had[name]))
			changes++
		}
	}
	return changes, changes == len(have), nil
}
