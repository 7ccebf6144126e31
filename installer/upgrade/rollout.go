package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// MastersFollow upgrades masters one after the other, and stops at the first that has to go back.
func (u *Upgrade) MastersFollow(ctx context.Context, step string) (int, error) {
	return u.follow(ctx, step, 1, func(t *fleet.Target) bool { return t.Master })
}

// NodesFollow upgrades workers, as many at a time as is allowed. If one of them has to go back, those beside it come to their
// end, and no further one begins.
func (u *Upgrade) NodesFollow(ctx context.Context, step string) (int, error) {
	workers := fleet.Only(u.Workers(), (*fleet.Target).InCluster)
	n, err := AtOnce(u.Parallel, len(workers))
	if err != nil {
		return 0, err
	}
	return u.follow(ctx, step, n, func(t *fleet.Target) bool { return !t.Master })
}

func (u *Upgrade) follow(ctx context.Context, step string, atOnce int, which func(*fleet.Target) bool) (changes int, err error) {
	pending, err := u.Pending()
	if err != nil {
		return 0, err
	}
	ordered := fleet.Only(u.inOrder(), func(t *fleet.Target) bool { return which(t) && slices.Contains(pending, t) })
	u.Report.About(fleet.Names(ordered)) // those that wait for their turn, too
	for batch := range slices.Chunk(ordered, max(1, atOnce)) {
		if len(batch) > 1 { // all of them first, so that no pod moves from one to the next
			if err := u.cordon(ctx, batch); err != nil {
				return changes, errors.Join(err, readmit(ctx, u, batch...))
			}
		}
		turned, err := u.Count(ctx, batch, func(ctx context.Context, t *fleet.Target) (int, error) {
			if err := u.turn(ctx, t, step); err != nil {
				return 0, errors.Join(err, readmit(ctx, u, t))
			}
			return 1, nil
		})
		changes += turned
		if err != nil {
			return changes, fmt.Errorf("%w%s", err, u.rest(ordered, batch))
		}
	}
	return changes, nil
}

// cordon keeps new pods away from hosts whose kubelet gets another version. [site.Site.Evacuate] and Readmit take it from there.
func (u *Upgrade) cordon(ctx context.Context, batch []*fleet.Target) error {
	return u.Each(ctx, batch, func(ctx context.Context, t *fleet.Target) error {
		if u.versionOf(t) == u.To() {
			return nil
		}
		return installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) error { return u.Kube.Cordon(ctx, t.NodeName()) })
	})
}

// readmit lets hosts get pods again that were cordoned for their turn, and on which it was not begun or was given up.
func readmit(ctx context.Context, u *Upgrade, hosts ...*fleet.Target) error {
	var errs []error
	for _, t := range hosts {
		if m, there, err := on(t); ctx.Err() == nil && err == nil && (!there || m.Stage == done) {
			errs = append(errs, u.Readmit(ctx, t.NodeName()))
		}
	}
	return errors.Join(errs...)
}

// rest says which hosts have not begun.
func (u *Upgrade) rest(ordered, batch []*fleet.Target) string {
	var names []string
	for _, t := range ordered {
		// A mark of an upgrade before this one stays until this one begins there.
		if m, there, err := on(t); err == nil && (!there || m.To != u.wanted(t)) && !slices.Contains(batch, t) {
			names = append(names, t.IP.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "\n  Not begun: " + strings.Join(names, ", ")
}

// AtOnce is how many of some hosts may be upgraded at the same time: a number, or a percentage of them; at least one. The error
// says what is wrong with the text.
func AtOnce(text string, hosts int) (int, error) {
	if text == "" {
		return 1, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percent && n > 100 {
		return 0, fmt.Errorf("%q: expected a number of hosts, as 2, or a percentage of them, as 10%%", text)
	}
	if percent {
		n = hosts * n / 100
	}
	return max(1, min(n, max(1, hosts))), nil
}
