package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Files of a host that hold its settings.
const (
	kubeletDir    = "/var/lib/kubelet" //docs:file hosts: settings and identity of kubelet, and volumes of pods
	kubeletConfig = kubeletDir + "/config.yaml"
	kubeletFlags  = kubeletDir + "/kubeadm-flags.env"
)

func manifest(component string) string {
	return path.Join(installer.KubeDir, "manifests", component+".yaml") //docs:file masters /etc/kubernetes/manifests/: static pods of the control plane
}

// filesOf are the files of a host that hold its settings.
func filesOf(t *fleet.Target) []string {
	files := []string{kubeletConfig, kubeletFlags}
	if t.Master {
		for _, c := range kubeadm.Components() {
			files = append(files, manifest(c))
		}
	}
	return files
}

// mark is what the mark journal.Settings of a host says: what its files were when they were written here, or when this
// installer first saw them. What they hold otherwise somebody has changed.
type mark struct {
	// Of are digests of what the documents said for each file when it was made; one that is not known is left out.
	Of map[string]string `json:"of,omitempty"`
	// Files are digests of the meaning of each file: two of them while one is being changed.
	Files map[string][]string `json:"files"`
	// Pending is what is left to do for files that were written: static pods to wait for, kubelet to restart.
	Pending []string `json:"pending,omitempty"`
	// Fields of kubelet that the pending restart is for.
	Fields []kubeadm.Difference `json:"fields,omitempty"`
}

// pendingKubelet says in a mark that kubelet is to be restarted.
const pendingKubelet = "kubelet"

func (m mark) text() string {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("settings: mark of a host: %v", err)) // strings can be encoded
	}
	return string(data)
}

// host is a host of the cluster, with what it has and what it is to have.
type host struct {
	*fleet.Target
	docs   kubeadm.Documents // for its static pods; only of a master
	args   []kubeadm.Argument
	of     map[string]string // by file: digest of what the documents of now say for it
	mark   mark
	marked bool
	now    map[string][]byte // its files
	wanted map[string][]byte // what those are to hold that differ
	fields map[string][]kubeadm.Difference
	drift  []string // files that somebody has changed
}

// settled tells whether a file was made by what the documents of now say, so that only somebody else can have changed it.
func (h *host) settled(name string) bool { return h.mark.Of[name] == h.of[name] }

// drifted tells whether somebody has changed a file.
func (h *host) drifted(name string) bool { return slices.Contains(h.drift, name) }

// known tells whether all files of a host are known to be as wanted.
func (h *host) known() bool {
	return len(h.drift) == 0 && len(h.mark.Pending) == 0 && !slices.ContainsFunc(filesOf(h.Target), func(name string) bool { return !h.settled(name) })
}

// Look compares what is wanted with what is in force, on the hosts of the run that are in the cluster. It is nil if there is no
// cluster yet. It changes nothing: files that kubeadm renders on a master for the comparison are removed again.
func (s *Settings) Look(ctx context.Context) (*State, error) {
	joined := fleet.Only(s.Targets, (*fleet.Target).InCluster)
	planes := s.ControlPlanes()
	if len(planes) == 0 {
		return nil, nil
	}
	maps, err := s.readMaps(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the settings that the cluster keeps: %w", err)
	}
	st := &State{maps: maps}
	for _, m := range maps {
		if len(m.now) > 0 || m.gone() {
			continue
		}
		if s.Wish.Apply {
			s.Report.Warnf("ConfigMap %s/%s is missing: the cluster works without it, but its settings are neither compared nor changed", mapNamespace, m.name)
		}
		return nil, nil
	}
	own, err := s.own()
	if err != nil {
		return nil, err
	}
	first, err := s.want(st, planes[0], own)
	if err != nil {
		return nil, planes[0].Failed(err)
	}
	st.hosts = make([]*host, len(joined))
	err = s.Each(ctx, joined, func(ctx context.Context, t *fleet.Target) error {
		h, err := s.lookAt(ctx, t, first)
		st.hosts[slices.Index(joined, t)] = h
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.compare(ctx, st, planes[0], first); err != nil {
		return nil, err
	}
	st.sum(own)
	return st, nil
}

// Differences compares what is wanted with what is in force.
func (s *Settings) Differences(ctx context.Context) ([]Change, []Drift, error) {
	st, err := s.Look(ctx)
	if err != nil || st == nil {
		return nil, nil, err
	}
	return st.Changes, st.Drift, nil
}

// own tells which differences are the operator's: the documents of now say them, or those of before.
func (s *Settings) own() (func(kubeadm.Difference) bool, error) {
	docs := slices.Clone(s.Cluster.Kubeadm)
	if s.Recorded != nil {
		before, err := s.Recorded()
		if err != nil {
			return nil, err
		}
		docs = append(docs, before...)
	}
	return kubeadm.Own(docs...)
}

// want renders the documents for a cluster that runs, by its first master that can be asked.
func (s *Settings) want(st *State, t *fleet.Target, own func(kubeadm.Difference) bool) (kubeadm.Documents, error) {
	docs, err := site.WantedOf(s.Site, kubeadm.Init, t, st.maps[2].ipvs())
	if err != nil {
		return docs, err
	}
	kept, changed, fixed, err := docs.Following(st.maps[0].now)
	if err != nil {
		return docs, err
	}
	for _, d := range shown(fixed) {
		if own(d) {
			st.Fixed = append(st.Fixed, d)
		}
	}
	st.maps[0].fields = shown(changed)
	if st.maps[0].wanted, err = kept.Text(kubeadm.Cluster); err != nil {
		return docs, err
	}
	network := kept.Says(kubeadm.Cluster)["networking"]
	st.maps[0].of = journal.Inputs(kept.Says(kubeadm.Cluster))
	st.maps[1].of = journal.Inputs(kept.Says(kubeadm.Kubelet), network)
	st.maps[2].of = journal.Inputs(kept.Says(kubeadm.KubeProxy), network)
	return kept, nil
}

// lookAt reads the files of a host, and says what it is to have. first are the documents of the first master.
func (s *Settings) lookAt(ctx context.Context, t *fleet.Target, first kubeadm.Documents) (*host, error) {
	h := &host{Target: t, wanted: map[string][]byte{}, fields: map[string][]kubeadm.Difference{}}
	kind := kubeadm.JoinNode
	switch {
	case t == s.Master0():
		kind = kubeadm.Init
	case t.Master:
		kind = kubeadm.JoinMaster
	}
	joins, err := site.WantedOf(s.Site, kind, t, false)
	if err != nil {
		return nil, err
	}
	h.args = joins.KubeletArguments()
	h.of = map[string]string{kubeletConfig: journal.Inputs(first.Says(kubeadm.Kubelet)), kubeletFlags: journal.Inputs(h.args)}
	if t.Master {
		if h.docs, err = site.WantedOf(s.Site, kubeadm.Init, t, false); err != nil {
			return nil, err
		}
		// What static pods are made by is the cluster's, but for the address of the host.
		text, err := first.Text(kubeadm.Cluster)
		if err != nil {
			return nil, err
		}
		if h.docs, _, _, err = h.docs.Following(text); err != nil {
			return nil, err
		}
		for _, c := range kubeadm.Components() {
			h.of[manifest(c)] = journal.Inputs(h.docs.SaysOf(c))
		}
	}
	if h.now, err = t.Agent.ReadFiles(ctx, filesOf(t)); err != nil {
		return nil, fmt.Errorf("read its settings: %w", err)
	}
	if text := t.Journal.Of(journal.Settings); text != "" {
		if err := json.Unmarshal([]byte(text), &h.mark); err != nil {
			return nil, fmt.Errorf("read the mark of its settings, %s: %w", t.Journal.Path(journal.Settings), err)
		}
		h.marked = true
	}
	for _, name := range filesOf(t) {
		content, there := h.now[name]
		if !there || h.marked && !slices.Contains(h.mark.Files[name], kubeadm.Meaning(content)) {
			h.drift = append(h.drift, name)
		}
	}
	return h, nil
}

// sum makes changes and drift of what was compared.
func (st *State) sum(own func(kubeadm.Difference) bool) {
	for _, h := range st.hosts {
		ip := h.IP.String()
		if len(h.mark.Pending) > 0 {
			st.Pending = append(st.Pending, ip)
		}
		if !h.marked {
			st.Unknown = append(st.Unknown, ip)
		}
		for _, name := range filesOf(h.Target) {
			if h.drifted(name) && (h.settled(name) || h.wanted[name] != nil) {
				what := name
				if _, there := h.now[name]; !there {
					what += " (it is missing)"
				}
				st.Drift = append(st.Drift, Drift{Host: ip, What: what, Fields: h.fields[name], Needed: !h.settled(name)})
			}
			if h.drifted(name) && h.settled(name) {
				continue // the documents are as they were: what differs is what somebody has done
			}
			for _, d := range h.fields[name] {
				st.add(d, ip, disturbance(d), own(d))
			}
		}
	}
	if st.maps[2].note.Rolling {
		st.Pending = append(st.Pending, "")
	}
	for _, m := range st.maps {
		drifted := m.drifted() && m.wanted != nil
		if drifted {
			st.Drift = append(st.Drift, Drift{What: mapNamespace + "/" + m.name, Fields: m.fields, Needed: m.note.Of != m.of && len(m.fields) > 0})
		}
		if drifted && m.note.Of == m.of {
			continue
		}
		for _, d := range m.fields {
			what := disturbsNothing
			if m.kind == kubeadm.KubeProxy {
				what = disturbsProxy
			}
			st.add(d, "", what, own(d))
		}
	}
}

// add notes a difference. Those that are decided when a host joins are kept apart, if the operator wants them.
func (st *State) add(d kubeadm.Difference, host, disturbs string, own bool) {
	switch {
	case !isFixed(d):
		st.addChange(d, host, disturbs, own)
	case own && !slices.Contains(st.Fixed, d):
		st.Fixed = append(st.Fixed, d)
	}
}
