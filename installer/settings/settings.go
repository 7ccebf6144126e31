// Package settings changes the settings of a cluster that runs: of the control plane, of kubelets and of kube-proxy. It compares
// what the documents want with what is in force, tells what somebody has changed by hand, and rolls changes out host by host.
//
// What kubeadm would write is asked of kubeadm itself: it renders the files into a directory of its own (a dry run of its
// phases). They are compared with those in force field by field and, where they differ, written as they are.
package settings

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Wish is what a verb wants of settings.
type Wish struct {
	// Apply says that settings which differ are changed. Else a run is refused where the operator's own documents are not in force.
	Apply bool
	// TakeOver says that what somebody has changed by hand is overwritten.
	TakeOver bool
}

// DefaultDrain is how long the pods of a host may take to move away before its kubelet gets settings that running pods do not fit.
const DefaultDrain = 5 * time.Minute

// Settings compares and changes the settings of a cluster.
type Settings struct {
	*site.Site
	Wish Wish
	// DrainTimeout is how long the pods of a host may take to move away; 0 means [DefaultDrain].
	DrainTimeout time.Duration
	// Recorded gives the operator's documents that were in force by the record; nil if nothing is recorded.
	Recorded func() ([][]byte, error)
}

// Change is a field that is in force otherwise than it is wanted.
type Change struct {
	kubeadm.Difference
	Hosts    []string `json:"hosts,omitempty"` // where; empty if it is kept in the cluster alone
	Disturbs string   `json:"disturbs"`        // in words
	Own      bool     `json:"own,omitempty"`   // the operator's documents say it, or said it
}

// Drift is a file of a host, or a ConfigMap of the cluster, that somebody has changed since kubeadm or this installer wrote it.
type Drift struct {
	Host   string               `json:"host,omitempty"` // empty for a ConfigMap
	What   string               `json:"what"`           // path, or NAMESPACE/NAME
	Fields []kubeadm.Difference `json:"fields"`         // from what is there to what is wanted
	Needed bool                 `json:"needed"`         // what is wanted has changed, too, so the file would have to be written
}

// State is the outcome of a comparison.
type State struct {
	Changes []Change
	Drift   []Drift
	Fixed   []kubeadm.Difference // the operator's documents want what is decided when a cluster is made
	Pending []string             // hosts with settings that an apply which was cut off has written, and not brought in force; "" is kube-proxy
	Unknown []string             // hosts of which nothing says whether somebody has changed their files: they count as they are now

	maps  []*configMap
	hosts []*host
}

// Refusals are the problems for which a run is refused before it changes anything: by the wish to change settings, those that
// stand in its way; else the differences of the operator's own documents.
func (s *Settings) Refusals(st *State) (out []preflight.Problem) {
	if st == nil {
		return nil
	}
	for _, d := range st.Fixed {
		out = append(out, preflight.Problem{
			Check: "settings", Message: fmt.Sprintf("%s: %s", d, whyFixed(d)),
			Remedy: "give it back the value that is in force; a cluster with another one is made anew",
		})
	}
	if !s.Wish.Apply {
		for _, c := range st.Changes {
			if c.Own {
				out = append(out, preflight.Problem{
					Host: strings.Join(c.Hosts, ","), Check: "settings", Message: c.String(),
					Remedy: "this verb changes no settings of a cluster that runs: use `sealinstall apply -f CLUSTERFILE`, or give the settings that are in force",
				})
			}
		}
		for _, ip := range st.Pending {
			out = append(out, preflight.Problem{
				Host: ip, Check: "settings", Message: "an apply was cut off: its settings are written, and not in force yet", Remedy: "run the same `sealinstall apply` again: it finishes",
			})
		}
		return perHost(out)
	}
	for _, d := range st.Drift {
		if d.Needed && !s.Wish.TakeOver {
			out = append(out, preflight.Problem{
				Host: d.Host, Check: "settings", Message: fmt.Sprintf("somebody has changed %s, and it is to be changed: %s", d.What, inWords(d.Fields)),
				Remedy: "put it back as it was, write what was changed into the Clusterfile, or overwrite it with --take-over",
			})
		}
	}
	return out
}

// Others is a problem if the documents are others than those that are recorded, for a bundle that cannot tell what they mean: it
// brings no rootfs.
func (s *Settings) Others() []preflight.Problem {
	recorded, err := s.Recorded()
	if err != nil {
		return preflight.From(err, "settings")
	}
	if recorded == nil || slices.EqualFunc(recorded, s.Cluster.Kubeadm, func(a, b []byte) bool { return kubeadm.Meaning(a) == kubeadm.Meaning(b) }) {
		return nil
	}
	return []preflight.Problem{{
		Check: "settings", Message: "the kubeadm documents are others than those that are recorded, and this bundle has no rootfs: it changes no settings",
		Remedy: "give the documents to `sealinstall apply` of the bundle that the cluster was made with",
	}}
}

// Bare are problems for pods that a rollout would delete for good: their hosts are drained, and nothing makes them anew elsewhere.
func (s *Settings) Bare(ctx context.Context, st *State) ([]preflight.Problem, error) {
	of := map[string]string{}
	for _, h := range st.hosts {
		ip := h.IP.String()
		drains := func(c Change) bool { return c.Disturbs == disturbsPods && slices.Contains(c.Hosts, ip) }
		if len(s.Cluster.Hosts) > 1 && slices.ContainsFunc(st.Changes, drains) {
			of[h.NodeName()] = ip
		}
	}
	if !s.Wish.Apply || len(of) == 0 {
		return nil, nil
	}
	pods, err := s.Kube.Residents(ctx, slices.Sorted(maps.Keys(of)))
	var out []preflight.Problem
	for _, p := range pods {
		if p.Owner == "" {
			out = append(out, preflight.Problem{
				Host: of[p.Node], Check: "drain", Message: fmt.Sprintf("the host is drained for its new settings, and nothing makes pod %s anew elsewhere", p.Title()),
				Remedy: "delete the pod, or give it a controller; --ignore-check drain lets it go",
			})
		}
	}
	return out, err
}

// perHost makes a problem of each host of one that names several.
func perHost(all []preflight.Problem) (out []preflight.Problem) {
	for _, p := range all {
		for host := range strings.SplitSeq(p.Host, ",") {
			p.Host = host
			out = append(out, p)
		}
	}
	return out
}

// Tell says what is to change, if the verb wishes so, and what somebody has changed by hand.
func (s *Settings) Tell(st *State) {
	if len(st.Unknown) > 0 {
		s.Report.Infof("%s: nothing was noted here of the settings when they were written; as they are now they count as nobody's change by hand", installer.HostList(st.Unknown))
	}
	for _, c := range st.Changes {
		where := ""
		if len(c.Hosts) > 0 {
			where = installer.HostList(c.Hosts) + ": "
		}
		if s.Wish.Apply {
			s.Report.Infof("~ change %s%s; it disturbs %s", where, c, c.Disturbs)
		}
	}
	for _, d := range st.Drift {
		where := d.What
		if d.Host != "" {
			where = d.Host + ": " + d.What
		}
		end := "it stays; --take-over overwrites it"
		switch {
		case s.Wish.Apply && s.Wish.TakeOver:
			end = "it is overwritten"
		case !s.Wish.Apply:
			end = "it stays; `sealinstall apply -f CLUSTERFILE --take-over` overwrites it"
		}
		s.Report.Warnf("%s was changed by hand (there -> wanted: %s): %s", where, inWords(d.Fields), end)
	}
}

func inWords(fields []kubeadm.Difference) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.String())
	}
	if len(out) == 0 {
		return "it says the same as is wanted"
	}
	return installer.NameSome(out)
}

// addChange notes a difference of a host; the same one of several hosts is one change.
func (st *State) addChange(d kubeadm.Difference, host, disturbs string, own bool) {
	i := slices.IndexFunc(st.Changes, func(c Change) bool { return c.Difference == d && (c.Disturbs == disturbs || host == "") })
	if i < 0 {
		i = len(st.Changes)
		st.Changes = append(st.Changes, Change{Difference: d, Disturbs: disturbs, Own: own})
	}
	if host != "" && !slices.Contains(st.Changes[i].Hosts, host) {
		st.Changes[i].Hosts = append(st.Changes[i].Hosts, host)
	}
}
