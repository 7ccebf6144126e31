package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// Status is the truth about a cluster: what its hosts say now.
type Status struct {
	Cluster    string       `json:"cluster"`
	Kubernetes string       `json:"kubernetes"` // of the cluster by its record; without one, of the bundle
	Ready      bool         `json:"ready"`
	Hosts      []HostStatus `json:"hosts"`
	Waiting    []string     `json:"waiting,omitempty"`  // what the cluster still waits for
	Problems   []Problem    `json:"problems,omitempty"` // hosts that cannot be asked
}

// HostStatus is what is true of one host.
type HostStatus struct {
	Address   string    `json:"address"`
	Hostname  string    `json:"hostname,omitempty"`
	Role      string    `json:"role"`
	Reached   bool      `json:"reached"`
	Begun     bool      `json:"begun"`  // the cluster was begun there
	Joined    bool      `json:"joined"` // kubeadm came to its end there
	CertsEnd  time.Time `json:"certificatesEnd,omitzero"`
	FirstCert string    `json:"firstCertificate,omitempty"` // the one that ends first
}

// AskStatus asks every host. A host out of reach is part of the answer, not an
// error; it takes the cluster's lock, so that it does not tell of half-done work.
func AskStatus(show func(Status)) []Step {
	return []Step{{Name: "status", Title: "ask every host", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		s, err := r.askStatus(ctx)
		if err == nil {
			show(r.withoutSecrets(s))
		}
		return installer.Result{}, errors.Join(err, r.withdraw(ctx))
	}}}
}

func (r *Run) askStatus(ctx context.Context) (Status, error) {
	if err := r.settleArch(ctx); err != nil {
		return Status{}, err
	}
	if err := r.loadImages(); err != nil {
		return Status{}, err
	}
	if err := r.readFiles(ctx); err != nil {
		return Status{}, err
	}
	s := Status{Cluster: r.Cluster.Name, Kubernetes: r.rootfs().KubeVersion(), Problems: r.connectAll(ctx)}
	differ, err := r.compare(ctx)
	if err != nil {
		return Status{}, err
	}
	s.Problems = append(s.Problems, differ...)
	if v := r.Cluster.Status.KubeVersion(); v != "" {
		s.Kubernetes = v
	}
	s.Ready = len(s.Problems) == 0
	for _, t := range r.Targets {
		h := HostStatus{Address: t.IP.String(), Hostname: t.Facts.Hostname, Role: role(t), Reached: t.looked, Begun: t.looked && t.begun(), Joined: t.looked && t.joined()}
		if h.Joined && h.Role == "master" {
			found, err := r.certsOn(ctx, t)
			if err != nil {
				return Status{}, &installer.HostError{Host: h.Address, Err: err}
			}
			for _, c := range found {
				if h.CertsEnd.IsZero() || c.Ends.Before(h.CertsEnd) {
					h.CertsEnd, h.FirstCert = c.Ends, c.Path
				}
			}
		}
		s.Ready = s.Ready && h.Joined
		s.Hosts = append(s.Hosts, h)
	}
	if i := slices.IndexFunc(r.Targets, func(t *Target) bool { return t.Master && t.looked && t.joined() }); i < 0 {
		s.Ready, s.Waiting = false, append(s.Waiting, "no master that is reached is in the cluster")
		return s, nil
	}
	waiting, err := r.unready(ctx)
	if err != nil {
		waiting = append(waiting, fmt.Sprintf("the API does not answer: %v", err))
	}
	s.Waiting = append(s.Waiting, waiting...)
	s.Ready = s.Ready && len(waiting) == 0
	return s, nil
}
