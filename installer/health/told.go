package health

import (
	"context"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/site"
)

// askLast bounds what is asked at the end of a run.
const askLast = 5 * time.Second

// TellHosts tells what is known of each host at the end of a run. If ask is true, those in the cluster answer, and are asked for
// what the run may have changed: versions, and certificates of masters. What cannot be found out is a warning.
func (h *Health) TellHosts(ctx context.Context, ask bool) {
	nodes, ends := h.Known, map[*fleet.Target][]progress.Certificate{}
	if masters := h.ControlPlanes(); ask && len(masters) > 0 {
		ctx, cancel := context.WithTimeout(ctx, askLast)
		defer cancel()
		if now, err := h.Kube.Nodes(ctx); err != nil {
			h.Report.Warnf("the report has the versions from before the run: %s", installer.Tell(err))
		} else {
			nodes = now
		}
		var mu sync.Mutex
		err := fleet.Each(ctx, masters, h.Jobs, func(ctx context.Context, t *fleet.Target) error {
			found, err := h.Secrets.CertificatesOn(ctx, t)
			mu.Lock()
			defer mu.Unlock()
			for _, c := range found {
				ends[t] = append(ends[t], progress.Certificate{Path: c.Path, Subject: c.Subject, Ends: c.Ends.UTC()})
			}
			return err
		})
		if err != nil {
			h.Report.Warnf("the report lacks certificates: %s", installer.Tell(err))
		}
	}
	for _, t := range h.All() {
		about := progress.AboutHost{Name: t.NodeName(), Role: t.Role(), Versions: map[string]string{}, Certificates: ends[t]}
		node, _ := kube.NodeOf(nodes, site.KubeHost(t))
		for what, version := range map[string]string{"kubelet": node.Version, "runtime": node.Runtime, "kernel": t.Facts.Kernel, "os": t.Facts.OS} {
			if version != "" {
				about.Versions[what] = version
			}
		}
		h.Report.HostIs(t.IP.String(), about)
	}
}
