package steps

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/certs"
)

// nodeState is what the API tells of a node.
type nodeState struct {
	name, ip string
	ready    string // True, False or Unknown: nothing has been heard of its kubelet
	message  string // why it is not Ready
	pressure []string
	version  string // of its kubelet; empty when it has not told
}

// nodesTemplate tells of each node what [nodeState] holds.
const nodesTemplate = `{{range .items}}node {{printf "%q" .metadata.name}}
{{with .status.nodeInfo}}{{with .kubeletVersion}}runs {{printf "%q" .}}
{{end}}{{end}}{{range .status.addresses}}{{if eq .type "InternalIP"}}at {{printf "%q" .address}}
{{end}}{{end}}{{range .status.conditions}}{{if eq .type "Ready"}}ready {{printf "%q" .status}}{{if ne .status "True"}} {{printf "%q" (or .message .reason "")}}{{end}}
{{else if eq .status "True"}}has {{printf "%q" .type}}
{{end}}{{end}}{{end}}`

// askNodes lists the nodes of the cluster.
func (r *Run) askNodes(ctx context.Context) ([]nodeState, error) {
	records, err := r.query(ctx, nodesTemplate, "nodes")
	if err != nil {
		return nil, err
	}
	nodes := []nodeState{}
	for _, rec := range records {
		if rec.kind == "node" {
			nodes = append(nodes, nodeState{name: rec.value(0), ready: "Unknown", message: "its kubelet has never been heard of"})
			continue
		}
		if len(nodes) == 0 {
			continue
		}
		n := &nodes[len(nodes)-1]
		switch rec.kind {
		case "at":
			if n.ip == "" {
				n.ip = rec.value(0)
			}
		case "ready":
			n.ready, n.message = rec.value(0), rec.value(1)
		case "runs":
			n.version = rec.value(0)
		case "has":
			n.pressure = append(n.pressure, rec.value(0))
		}
	}
	return nodes, nil
}

// nodeOf finds the node of a host: by its name or, of one that is not reached, by its address.
func nodeOf(nodes []nodeState, t *Target) (nodeState, bool) {
	i := slices.IndexFunc(nodes, func(n nodeState) bool {
		if t.Facts.Hostname == "" {
			return n.ip == t.IP.String()
		}
		return n.name == t.nodeName()
	})
	if i < 0 {
		return nodeState{}, false
	}
	return nodes[i], true
}

// clusterAnswers asks a cluster for its nodes before anything is changed. A cluster whose etcd has no majority can be
// changed by nobody: that is a problem, unless it is this run that will start what is missing. Masters that have just
// booted get the time they need, but not in a run that other problems end.
func (r *Run) clusterAnswers(ctx context.Context, ends bool) []Problem {
	in := r.controlPlanes()
	if len(in) == 0 {
		return nil
	}
	total, away := r.knownMasters()
	stopped := 0
	for _, t := range in {
		if t.stopped() != "" {
			stopped++
		}
	}
	hopeless := len(in) <= total/2
	ask := func(ctx context.Context) (err error) {
		r.known, err = r.askNodes(ctx)
		return err
	}
	err := within(ctx, askOnce, ask)
	if err != nil && !ends && len(in)-stopped > total/2 {
		patience := min(answerPatience, r.Timeout)
		r.Report.Infof("the cluster does not answer; it gets up to %s, as masters need that have just booted", patience)
		err = insist(ctx, patience, ask)
	}
	switch {
	case err == nil:
		r.findGone()
		return nil
	case ctx.Err() != nil:
		return nil // the run has ended, and says so itself
	case !hopeless && stopped > 0 && len(in)-stopped <= total/2:
		for _, t := range in {
			if what := t.stopped(); what != "" {
				r.Report.Infof("%s: %s; it is started again before the cluster is asked", t.IP, what)
			}
		}
		return nil
	}
	p := r.noMajority(in, total, away, err)
	if expired := r.expired(ctx, in); expired != "" {
		p.Message, p.Remedy = expired+"; therefore "+p.Message, "sealinstall cert --renew all"
	}
	_ = within(ctx, finalCause, func(ctx context.Context) error {
		if causes := r.causes(ctx, waiting{}); len(causes) > 0 {
			p.Message += "; " + strings.Join(causes, "; ")
		}
		return nil
	})
	return []Problem{p}
}

// expired names a certificate of a master that has run out, by that master's own clock.
func (r *Run) expired(ctx context.Context, in []*Target) string {
	for _, t := range in {
		var found []certs.Info
		err := within(ctx, certsForStatus, func(ctx context.Context) (err error) {
			found, err = r.certsOn(ctx, t)
			return err
		})
		for _, c := range found {
			if err == nil && c.Ends.Before(time.Now().Add(t.skew)) {
				return fmt.Sprintf("%s: its certificate %s ended on %s", t.IP, c.Path, c.Ends.Format(time.DateOnly))
			}
		}
	}
	return ""
}

// knownMasters counts the masters that may be members of etcd: not those that were seen to be none. away are not reached.
func (r *Run) knownMasters() (total int, away []string) {
	for _, h := range r.Cluster.Masters() {
		i := slices.IndexFunc(r.Targets, func(t *Target) bool { return t.IP == h.IP })
		switch {
		case i < 0 || !r.Targets[i].looked:
			away = append(away, h.IP.String())
			total++
		case r.Targets[i].joined():
			total++
		}
	}
	return total, away
}

// noMajority says what is missing of a cluster that does not answer.
func (r *Run) noMajority(in []*Target, total int, away []string, cause error) Problem {
	p := Problem{Check: "cluster"}
	if len(in) <= total/2 {
		p.Message = fmt.Sprintf("etcd has no majority: %d of %d masters are reached, and %d are needed; not reached, or not named: %s", len(in), total, total/2+1, hostList(away))
		p.Remedy = "give these masters their power or network back, or name them; masters whose disks are lost cannot be replaced before a majority answers"
		return p
	}
	// What one of them says is like what all say.
	first := strings.Join(strings.Fields(installer.Tell(unjoin(cause)[0])), " ")
	p.Message = fmt.Sprintf("the cluster does not answer, or etcd has no majority: %d of %d masters are reached, none answers: %s", len(in), total, first)
	p.Remedy = "look at kubelet (journalctl -u kubelet) and at etcd (crictl ps -a, crictl logs) on these masters"
	return p
}

// findGone notes the hosts that have joined, but whose nodes somebody has deleted.
func (r *Run) findGone() {
	for _, t := range r.Targets {
		if t.looked && t.joined() {
			_, there := nodeOf(r.known, t)
			t.gone = !there
		}
	}
}

// strangers are nodes of the cluster that are none of this run's hosts.
func (r *Run) strangers(nodes []nodeState) []nodeState {
	own := map[string]bool{}
	for _, t := range r.Targets {
		if n, ok := nodeOf(nodes, t); ok {
			own[n.name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n nodeState) bool { return own[n.name] })
}

// title names a node with its address.
func (n nodeState) title() string {
	if _, err := netip.ParseAddr(n.ip); err != nil {
		return n.name
	}
	return n.name + " (" + n.ip + ")"
}

// nodesWaiting tells of nodes that are not Ready or not there, those that say the same together.
func (r *Run) nodesWaiting(nodes []nodeState) []string {
	var out []string
	byMessage := map[string][]string{}
	var order []string
	for _, t := range r.Targets {
		n, ok := nodeOf(nodes, t)
		switch {
		case !ok && t.Facts.Hostname == "":
			out = append(out, fmt.Sprintf("host %s has no node in the cluster", t.IP))
		case !ok:
			out = append(out, fmt.Sprintf("node %s is not in the cluster", t.nodeName()))
		case n.ready != "True":
			if byMessage[n.message] == nil {
				order = append(order, n.message)
			}
			byMessage[n.message] = append(byMessage[n.message], n.title())
		}
	}
	return append(out, notReady(byMessage, order)...)
}

func notReady(byMessage map[string][]string, order []string) []string {
	var out []string
	for _, message := range order {
		names := byMessage[message]
		text := "node " + names[0] + " is not Ready"
		if len(names) > 1 {
			text = "nodes " + listOf(names) + " are not Ready"
		}
		if message != "" {
			text += ": " + message
		}
		out = append(out, text)
	}
	return out
}

// listOf names a few and counts the rest.
func listOf(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
