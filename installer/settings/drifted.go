package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Drifted finds what somebody has changed by hand of the files and documents that kubeadm writes anew in an upgrade, and makes
// problems of it; with the wish to take over, it tells it and finds none. Hosts of which nothing is noted count as they are.
func (s *Settings) Drifted(ctx context.Context) ([]preflight.Problem, error) {
	all, err := s.readMaps(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var out []preflight.Problem
	found := func(host, what string) {
		mu.Lock()
		defer mu.Unlock()
		if s.Wish.TakeOver {
			s.Report.Warnf("%s: somebody has changed it by hand; it is overwritten", strings.TrimSpace(host+" "+what))
			return
		}
		out = append(out, preflight.Problem{
			Host: host, Check: "settings", Message: fmt.Sprintf("somebody has changed %s by hand, and an upgrade writes it anew", what),
			Remedy: "put the change into the Clusterfile and bring it in force with `sealinstall apply -f CLUSTERFILE` before; or lose it with --take-over",
		})
	}
	for _, m := range all {
		if m.drifted() {
			found("", fmt.Sprintf("ConfigMap %s/%s", mapNamespace, m.name))
		}
	}
	err = s.Each(ctx, fleet.Only(s.Targets, (*fleet.Target).InCluster), func(ctx context.Context, t *fleet.Target) error {
		text := t.Journal.Of(journal.Settings)
		if text == "" {
			return nil
		}
		var m mark
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return fmt.Errorf("read the mark of its settings: %w", err)
		}
		now, err := t.Agent.ReadFiles(ctx, filesOf(t))
		if err != nil {
			return err
		}
		for _, name := range filesOf(t) {
			if !slices.Contains(m.Files[name], kubeadm.Meaning(now[name])) {
				found(t.IP.String(), name)
			}
		}
		return nil
	})
	return out, err
}

// ForgetMaps takes the notes off the ConfigMaps, before kubeadm writes them anew: what they will hold is nobody's change by hand.
func ForgetMaps(ctx context.Context, on *site.Site) error {
	for _, name := range []string{"kubeadm-config", "kubelet-config", "kube-proxy"} {
		err := installer.Insist(ctx, on.APIPatience(), func(ctx context.Context) error {
			found, err := on.Kube.Kubectl(ctx, "get", "configmap", "-n", mapNamespace, name, "-o", "name", "--ignore-not-found")
			if err != nil || len(found) == 0 {
				return err
			}
			return on.Kube.PatchMap(ctx, name, []byte(`{"metadata":{"annotations":{"`+annotation+`":""}}}`))
		})
		if err != nil {
			return fmt.Errorf("take the note off ConfigMap %s/%s: %w", mapNamespace, name, err)
		}
	}
	return nil
}
