package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Status is the truth about a cluster: what its hosts and itself say now.
type Status struct {
	Cluster    string              `json:"cluster"`
	Kubernetes string              `json:"kubernetes"` // of the cluster by its record; without one, of the bundle
	Ready      bool                `json:"ready"`
	Hosts      []HostStatus        `json:"hosts"`
	LockedBy   string              `json:"lockedBy,omitempty"` // the installer that works on the cluster now
	Waiting    []string            `json:"waiting,omitempty"`  // what the cluster still waits for
	Causes     []string            `json:"causes,omitempty"`   // what holds it up, as far as that was found
	Warnings   []string            `json:"warnings,omitempty"` // what does not keep it from being Ready: applications, hosts that were not asked
	Problems   []preflight.Problem `json:"problems,omitempty"` // such as hosts that cannot be asked, an etcd without a majority, full disks
}

// HostStatus is what is true of one host.
type HostStatus struct {
	Address   string    `json:"address"`
	Hostname  string    `json:"hostname,omitempty"` // of a host that is not reached, the name of its node
	Role      string    `json:"role"`
	Reached   bool      `json:"reached"`
	Begun     bool      `json:"begun"`             // the cluster was begun there
	Joined    bool      `json:"joined"`            // kubeadm came to its end there
	Stopped   string    `json:"stopped,omitempty"` // what of it does not run
	CertsEnd  time.Time `json:"certificatesEnd,omitzero"`
	FirstCert string    `json:"firstCertificate,omitempty"` // the one that ends first
}

// How long asking may take; an answer that takes longer is not waited for.
const (
	reachForStatus = 5 * time.Second // to log in to a host
	lookForStatus  = 8 * time.Second // to look at all hosts that are reached
	certsForStatus = 3 * time.Second // to read the certificates of a master
	askForStatus   = 8 * time.Second // to ask the cluster, whichever control plane answers
	causeForStatus = 4 * time.Second // to find what holds it up
	maxReached     = 100             // hosts at once
)

// AskStatus asks every host, and gives the answer to show. A host that is not reached is part of the answer, not an error.
// It takes no lock and changes nothing; that an installer is at work is part of the answer, too.
func AskStatus(show func(Status)) []Step {
	return []Step{{Name: "status", Title: "ask every host", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		s, err := r.askStatus(ctx)
		if err == nil {
			show(r.withoutSecrets(s))
		}
		return installer.Result{}, errors.Join(err, r.Withdraw(ctx))
	}}}
}

func (r *Run) askStatus(ctx context.Context) (Status, error) {
	dial := r.Dial
	// A host that is dead must not delay the answers of the others.
	r.Dial = func(ctx context.Context, t *fleet.Target) (link host.Host, err error) {
		err = installer.Within(ctx, reachForStatus, func(ctx context.Context) error {
			link, err = dial(ctx, t)
			return err
		})
		return link, err
	}
	if err := r.Load(ctx); err != nil {
		return Status{}, err
	}
	s := Status{Cluster: r.Cluster.Name, Kubernetes: r.Payload.Rootfs().KubeVersion()}
	// Many at once: to wait for hosts that are dead costs nothing but time.
	s.Problems = r.Reach(ctx, max(r.Jobs, min(len(r.Targets), maxReached)))
	_ = installer.Within(ctx, lookForStatus, func(ctx context.Context) error {
		s.Problems = append(s.Problems, r.LookAtHosts(ctx, fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Connected }))...)
		return nil
	})
	if ctx.Err() != nil {
		return Status{}, context.Cause(ctx)
	}
	err := installer.Within(ctx, lookForStatus, func(ctx context.Context) error {
		differ, err := r.Ledger.Compare(ctx)
		s.Problems = append(s.Problems, differ...)
		return err
	})
	if err != nil {
		s.Problems = append(s.Problems, preflight.From(err, "record")...)
	}
	if v := r.Cluster.Status.KubeVersion(); v != "" {
		s.Kubernetes = v
	}
	s.Ready = len(s.Problems) == 0
	for _, t := range r.Targets {
		h := r.hostStatus(t)
		if err := installer.Within(ctx, certsForStatus, func(ctx context.Context) error { return r.firstToEnd(ctx, t, &h) }); err != nil {
			s.Problems = append(s.Problems, preflight.From(&installer.HostError{Host: h.Address, Err: err}, "certificates")...)
		}
		s.Hosts = append(s.Hosts, h)
		s.Ready = s.Ready && h.Joined && h.Stopped == ""
		if t.Looked && t.Facts.LockedBy != "" {
			s.LockedBy = t.Facts.LockedBy
			r.Occupied()
		}
		_ = installer.Within(ctx, certsForStatus, func(ctx context.Context) error {
			if t.InCluster() {
				s.Problems = append(s.Problems, preflight.FullDisks(preflight.Host{
					IP: t.IP.String(), Master: t.Master, Facts: t.Facts, Needs: preflight.Needs{Places: r.PlacesOf(t)}, Settings: kubeletOf(ctx, t),
				})...)
			}
			return nil
		})
	}
	r.askCluster(ctx, &s)
	s.Ready = s.Ready && len(s.Waiting) == 0 && len(s.Problems) == 0
	return s, ctx.Err()
}

func (r *Run) hostStatus(t *fleet.Target) HostStatus {
	return HostStatus{
		Address: t.IP.String(), Hostname: t.Facts.Hostname, Role: t.Role(), Reached: t.Looked,
		Begun: t.Looked && t.Begun(), Joined: t.InCluster(), Stopped: t.Stopped(),
	}
}

// firstToEnd finds the certificate of a master that ends first.
func (r *Run) firstToEnd(ctx context.Context, t *fleet.Target, h *HostStatus) error {
	if !h.Joined || !t.Master {
		return nil
	}
	found, err := r.secrets.CertificatesOn(ctx, t)
	if err != nil {
		return err
	}
	for _, c := range found {
		if h.CertsEnd.IsZero() || c.Ends.Before(h.CertsEnd) {
			h.CertsEnd, h.FirstCert = c.Ends, c.Path
		}
	}
	return nil
}

// askCluster adds what the cluster itself says.
func (r *Run) askCluster(ctx context.Context, s *Status) {
	masters := r.ControlPlanes()
	if len(masters) == 0 {
		s.Waiting = append(s.Waiting, kube.ErrNoControlPlane.Error())
		return
	}
	for _, t := range r.Targets {
		if what := t.Stopped(); what != "" {
			s.Waiting = append(s.Waiting, fmt.Sprintf("host %s: %s", t.IP, what))
		}
	}
	var w kube.Lacks
	err := installer.Within(ctx, askForStatus, func(ctx context.Context) (err error) {
		w, err = r.Lacks(ctx)
		return err
	})
	if err != nil {
		total, away := r.health.KnownMasters()
		s.Problems = append(s.Problems, r.health.NoMajority(masters, total, away, err))
		s.Causes = r.health.CausesWithin(ctx, causeForStatus, kube.Lacks{})
		return
	}
	for i, t := range r.Targets {
		if n, ok := kube.NodeOf(w.Nodes, site.KubeHost(t)); ok && s.Hosts[i].Hostname == "" {
			s.Hosts[i].Hostname = n.Name
		}
	}
	s.Waiting = append(s.Waiting, w.Lines...)
	s.Waiting = append(s.Waiting, w.Pressure...)
	var strange []kube.Node
	for _, n := range kube.Strangers(w.Nodes, r.KubeHosts()) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("node %s is in the cluster, and none of the hosts that were asked", n.Title()))
		if n.Ready != "True" {
			strange = append(strange, n)
		}
	}
	s.Waiting = append(s.Waiting, kube.NotReady(strange)...)
	for _, app := range w.Apps {
		s.Warnings = append(s.Warnings, "application: "+app)
	}
	if len(s.Waiting) > 0 {
		s.Causes = r.health.CausesWithin(ctx, causeForStatus, w)
	}
}

// kubeletConfig is the configuration with which the kubelet of a host runs.
const kubeletConfig = "/var/lib/kubelet/config.yaml"

// kubeletOf reads the settings of a host's kubelet; they are empty if they cannot be read. Then only a disk without any
// room counts as full.
func kubeletOf(ctx context.Context, t *fleet.Target) preflight.Settings {
	if !t.InCluster() {
		return preflight.Settings{}
	}
	found, err := t.Agent.ReadFiles(ctx, []string{kubeletConfig})
	if err != nil {
		return preflight.Settings{}
	}
	k, err := preflight.ReadSettings(found[kubeletConfig])
	if err != nil {
		return preflight.Settings{}
	}
	return k
}

// withoutSecrets masks the secrets in what programs have said.
func (r *Run) withoutSecrets(s Status) Status {
	s.Waiting, s.Problems = slices.Clone(s.Waiting), slices.Clone(s.Problems)
	for i := range s.Waiting {
		s.Waiting[i] = r.Report.Mask(s.Waiting[i])
	}
	for i := range s.Problems {
		s.Problems[i].Message, s.Problems[i].Remedy = r.Report.Mask(s.Problems[i].Message), r.Report.Mask(s.Problems[i].Remedy)
	}
	return s
}
