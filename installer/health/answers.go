package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// AskAgain asks the cluster for its Nodes, if it could not be asked while hosts were looked at, since this run had to start
// something first.
func (h *Health) AskAgain(ctx context.Context) error {
	if h.Known != nil || len(h.ControlPlanes()) == 0 {
		return nil
	}
	if err := installer.Insist(ctx, min(answerPatience, h.Timeout), h.askNodes); err != nil {
		for _, c := range h.CausesWithin(context.WithoutCancel(ctx), finalCause, kube.Lacks{}) {
			err = fmt.Errorf("%w\n  cause: %s", err, c)
		}
		return fmt.Errorf("the cluster does not answer, though what was stopped has been started again: %w", err)
	}
	h.findGone()
	return nil
}

// askNodes asks the cluster for its Nodes.
func (h *Health) askNodes(ctx context.Context) (err error) {
	h.Known, err = h.Kube.Nodes(ctx)
	return err
}

// Answers asks the cluster for its Nodes before anything is changed, and writes [site.Site.Known]. A cluster whose etcd has
// no majority can be changed by no run. That is a problem, unless this run will start what does not run. Masters that have
// just booted get the time that they need; ends says that other problems end the run anyway, and then nothing is waited
// for.
func (h *Health) Answers(ctx context.Context, ends bool) []preflight.Problem {
	masters := h.ControlPlanes()
	if len(masters) == 0 {
		return nil
	}
	total, away := h.KnownMasters()
	dead := fleet.Only(masters, func(t *fleet.Target) bool { return t.Stopped() != "" })
	up := len(masters) - len(dead)
	err := installer.Within(ctx, askOnce, h.askNodes)
	if err != nil && !ends && up > total/2 {
		patience := min(answerPatience, h.Timeout)
		h.Report.Infof("the cluster does not answer; it gets up to %s, as masters need that have just booted", patience)
		err = installer.Insist(ctx, patience, h.askNodes)
	}
	switch {
	case err == nil:
		h.findGone()
		return nil
	case ctx.Err() != nil:
		return nil // the run has ended, and says so itself
	case len(masters) > total/2 && up <= total/2:
		for _, t := range dead {
			h.Report.Infof("%s: %s; it is started again before the cluster is asked", t.IP, t.Stopped())
		}
		return nil
	}
	p := NoMajority(len(masters), total, away, err)
	if expired := h.expired(ctx, masters); expired != "" {
		p.Message, p.Remedy = expired+"; therefore "+p.Message, "sealinstall cert --renew all"
	}
	for _, c := range h.CausesWithin(ctx, finalCause, kube.Lacks{}) {
		p.Message += "; " + c
	}
	return []preflight.Problem{p}
}

// expired names a certificate of a master that has ended, by that master's own clock. It is empty if none has.
func (h *Health) expired(ctx context.Context, masters []*fleet.Target) string {
	for _, t := range masters {
		var found []certs.Info
		err := installer.Within(ctx, certsPatience, func(ctx context.Context) (err error) {
			found, err = h.Secrets.CertificatesOn(ctx, t)
			return err
		})
		for _, c := range found {
			if err == nil && c.Ends.Before(time.Now().Add(t.Skew)) {
				return fmt.Sprintf("%s: its certificate %s ended on %s", t.IP, c.Path, c.Ends.Format(time.DateOnly))
			}
		}
	}
	return ""
}

// KnownMasters counts the masters that may be members of etcd: all but those that were looked at and have not joined. away
// are the addresses of those that were not looked at.
func (h *Health) KnownMasters() (total int, away []string) {
	for _, master := range h.Cluster.Masters() {
		i := slices.IndexFunc(h.Targets, func(t *fleet.Target) bool { return t.IP == master.IP })
		switch {
		case i < 0 || !h.Targets[i].Looked:
			away = append(away, master.IP.String())
			total++
		case h.Targets[i].Joined():
			total++
		}
	}
	return total, away
}

// NoMajority is the problem of a cluster that does not answer. masters is how many of it are reached; total and away are as
// [Health.KnownMasters] gives them.
func NoMajority(masters, total int, away []string, cause error) preflight.Problem {
	p := preflight.Problem{Check: "cluster"}
	if masters <= total/2 {
		p.Message = fmt.Sprintf("etcd has no majority: %d of %s %s reached, and %d %s needed; not reached, or not named: %s", masters, count.Of(total, "master"), count.Word(total, "is", "are"), total/2+1, count.Word(total/2+1, "is", "are"), installer.HostList(away))
		p.Remedy = "give these masters their power or network back, or name them; masters whose disks are lost cannot be replaced before a majority answers"
		return p
	}
	// All of them say much the same.
	first := strings.Join(strings.Fields(installer.Tell(preflight.Unjoin(cause)[0])), " ")
	p.Message = fmt.Sprintf("the cluster does not answer, or etcd has no majority: %d of %s %s reached, none answers: %s", masters, count.Of(total, "master"), count.Word(total, "is", "are"), first)
	p.Remedy = "look at kubelet (journalctl -u kubelet) and at etcd (crictl ps -a, crictl logs) on these masters"
	return p
}

// findGone notes the hosts that have joined but whose Nodes somebody has deleted.
func (h *Health) findGone() {
	for _, t := range h.Targets {
		if t.InCluster() {
			_, there := kube.NodeOf(h.Known, site.KubeHost(t))
			t.Gone = !there
		}
	}
}

const (
	answerPatience = 90 * time.Second // for a cluster to answer: masters that have just booted need most of a minute
	askOnce        = 12 * time.Second // for one that is asked once only
	certsPatience  = 3 * time.Second  // to read the certificates of a master
)
