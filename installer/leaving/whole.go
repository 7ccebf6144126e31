package leaving

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Tell writes into the log and the report what is lost, and shows it, whether somebody is asked or not.
func (l *Leaving) Tell(losses []Loss) {
	for _, o := range losses {
		what := "what was installed is removed"
		if o.Dead {
			what = "it does not answer; it must be switched off, and stay so"
		}
		if o.Moves > 0 {
			what += fmt.Sprintf("; %s %s to other hosts", count.Of(o.Moves, "pod"), count.Word(o.Moves, "moves", "move"))
		}
		l.Report.Infof("%s: this %s leaves the cluster: %s", o.Host, o.Role, what)
		for _, lost := range o.Lost {
			l.Report.Warnf("%s: lost: %s", o.Host, lost)
		}
	}
}

// wholePatience is how long a cluster that is taken apart may take to say what it holds. It may be broken: that is no reason to
// keep it.
const wholePatience = 20 * time.Second

// TellWhole tells what goes with a cluster that is taken apart: the pods of each host, and data that lie there. It asks hosts that
// kubeadm was begun on; a cluster that does not answer is told.
func (l *Leaving) TellWhole(ctx context.Context) {
	hosts := fleet.Only(l.Targets, (*fleet.Target).BegunKubeadm)
	if len(hosts) == 0 || ctx.Err() != nil {
		return
	}
	err := installer.Within(ctx, wholePatience, func(ctx context.Context) error { return l.tellWhole(ctx, hosts) })
	if err != nil && ctx.Err() == nil {
		l.Report.Warnf("lost with the cluster: what runs there, which is not known, since it does not answer: %s", installer.Tell(err))
	}
	if !l.Payload.Adds() { // a bundle of applications does not know what the one with the rootfs has brought
		l.tellPushed(ctx, fleet.Only(hosts, func(t *fleet.Target) bool { return t.Master }))
	}
}

// tellPushed tells what the registries of masters hold beside what the bundle brings: somebody has pushed it, or another bundle has
// brought it.
func (l *Leaving) tellPushed(ctx context.Context, masters []*fleet.Target) {
	catalog, err := payload.Catalog(ctx, l.Payload.Bundle)
	if err != nil {
		l.Report.Warnf("which images only the registries hold is not known: %s", installer.Tell(err))
		return
	}
	brought := map[string]bool{}
	for _, b := range catalog.Blobs() {
		brought[b.Digest.Encoded()] = true
	}
	for _, t := range masters {
		blobs, err := t.Agent.Blobs(ctx, l.Access().Data)
		n, size := 0, int64(0)
		for digest, bytes := range blobs {
			if !brought[digest] {
				n, size = n+1, size+bytes
			}
		}
		switch {
		case err != nil && ctx.Err() == nil:
			l.Report.Warnf("%s: lost: what its registry holds, which is not known: %s", t.IP, installer.TellAt(err, t.IP.String()))
		case n > 0:
			l.Report.Warnf("%s: lost: parts of images in its registry that this bundle does not bring (%s, %s)", t.IP, count.Of(n, "blob"), humanize.IBytes(uint64(size)))
		}
	}
}

func (l *Leaving) tellWhole(ctx context.Context, hosts []*fleet.Target) error {
	known, err := l.Kube.Nodes(ctx)
	if err != nil {
		return err
	}
	names := map[string]string{} // of Nodes, by host
	var nodes []string
	for _, t := range hosts {
		if n, there := kube.NodeOf(known, site.KubeHost(t)); there {
			names[t.IP.String()] = n.Name
			nodes = append(nodes, n.Name)
		}
	}
	pods, err := l.Kube.Residents(ctx, nodes)
	if err != nil {
		return err
	}
	used := map[string]map[string]map[string]int64{}
	for _, p := range pods {
		if _, asked := used[p.Node]; len(p.Local) > 0 && !asked {
			used[p.Node], _ = l.Kube.VolumeUse(ctx, p.Node) // a size that is not told is told as not known
		}
	}
	for _, t := range hosts {
		ends, data := 0, []string{}
		for _, p := range pods {
			if p.Node != names[t.IP.String()] {
				continue
			}
			ends++
			data = append(data, dataOf(p, used[p.Node])...)
		}
		if ends > 0 {
			l.Report.Warnf("%s: lost: %s", t.IP, count.Of(ends, "pod"))
		}
		for _, d := range data {
			l.Report.Warnf("%s: lost: %s", t.IP, d)
		}
	}
	return nil
}
