// Package clean takes away from hosts what was installed there, for a reset of the cluster and for hosts that leave it. What
// is not the cluster's stays.
package clean

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/nodes"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Cleaner takes away from hosts what was installed there.
type Cleaner struct {
	*site.Site
	Nodes *nodes.Nodes
	Net   hostnet.Net
}

// Kubernetes removes from a host what kubeadm made, once leave has taken its member out of etcd, and the virtual address.
func (c *Cleaner) Kubernetes(ctx context.Context, t *fleet.Target, step string, leave func(context.Context, *fleet.Target) error) error {
	if !t.Journal.Has(journal.KubeadmBegun) {
		return nil
	}
	if err := leave(ctx, t); err != nil {
		return err
	}
	if err := c.Nodes.Reset(ctx, t, step, func() error { return nil }); err != nil {
		return err
	}
	return c.Net.EndCare(ctx, t, step)
}

// Scripts runs the clean scripts of the images on those of some hosts where the cluster was begun.
func (c *Cleaner) Scripts(ctx context.Context, hosts []*fleet.Target) (int, error) {
	begun := fleet.Only(hosts, (*fleet.Target).Begun)
	err := c.Each(ctx, begun, func(ctx context.Context, t *fleet.Target) error {
		if t.Journal.Has(journal.Cleaned) {
			return nil // a reset that was cut off has run them, and may have removed them
		}
		// If an installation follows instead of the rest of this reset, it has to do again what is undone here.
		undone := slices.DeleteFunc(c.Marks(), func(m string) bool { return slices.Contains([]string{journal.Begun, journal.Kubeconfig}, m) })
		if err := t.Journal.Drop(ctx, undone...); err != nil {
			return err
		}
		return c.runScripts(ctx, t)
	})
	return len(begun), err
}

// script is one that cleans a host.
type script struct {
	of   *payload.Image
	line string
}

// scriptsOf are the scripts of the images that clean a host, in their order.
func (c *Cleaner) scriptsOf(t *fleet.Target) (out []script) {
	keys := []string{"clean", "clean-cri"}
	if t.Master {
		keys = append(keys, "clean-registry")
	}
	for _, key := range keys {
		if img, line := c.Share(t).Script(key); line != "" {
			out = append(out, script{img, line})
		}
	}
	return out
}

// ownDirs are the directories and files on a host that are the installer's alone, those of the cluster last.
func (c *Cleaner) ownDirs() []string {
	return []string{c.RootfsDir(), c.Dir("applications"), c.Dir("etc"), c.Dir("cache"), c.Dir("check"), c.Dir(ledger.ClusterfileName), installer.StubPath, c.Dir()}
}

// Plan says in words what is done on a host that is cleaned, in the order of it.
func (c *Cleaner) Plan(t *fleet.Target) (out []string) {
	if !t.Begun() {
		return []string{"it is left as it is: the cluster was never begun there"}
	}
	if t.Journal.Has(journal.KubeadmBegun) {
		if t.Master {
			out = append(out, "its member leaves etcd")
		}
		out = append(out, "kubeadm reset")
	}
	if !t.Journal.Has(journal.Cleaned) {
		for _, s := range c.scriptsOf(t) {
			out = append(out, s.line)
		}
	}
	return append(out, "remove "+c.Dir()+", "+c.RootfsDir()+" and "+installer.StubPath+", and what pods, kubelet and the virtual address have left")
}

func (c *Cleaner) runScripts(ctx context.Context, t *fleet.Target) error {
	// If the installation was cut off before the scripts came, they have nothing to undo.
	there, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"test", "-d", path.Join(c.RootfsDir(), "scripts")}, TimeoutSeconds: 10}, nil)
	if err != nil || there.Code != 0 {
		return err
	}
	for _, s := range c.scriptsOf(t) {
		if err := c.RunRootfsScript(ctx, t, "clean", s.of, s.line); err != nil {
			return err
		}
	}
	if err := c.Net.RemovePodNetwork(ctx, t); err != nil {
		return fmt.Errorf("remove the network of pods: %w", err)
	}
	return t.Journal.Set(ctx, journal.Cleaned, c.Cluster.Name)
}

// Files removes what the installer itself put on some hosts.
func (c *Cleaner) Files(ctx context.Context, hosts []*fleet.Target) (int, error) {
	begun := fleet.Only(hosts, (*fleet.Target).Begun)
	return c.Count(ctx, begun, func(ctx context.Context, t *fleet.Target) (int, error) {
		if _, err := t.Agent.SetHosts(ctx, nil); err != nil {
			return 0, err
		}
		if err := c.Nodes.RemoveKubeconfig(ctx, t); err != nil {
			return 0, err
		}
		if err := c.Net.RemoveCare(ctx, t); err != nil {
			return 0, fmt.Errorf("remove the virtual address: %w", err)
		}
		if err := c.Net.RemoveHold(ctx, t); err != nil {
			return 0, err
		}
		if err := c.Net.RemoveServiceRoute(ctx, t); err != nil {
			return 0, err
		}
		if err := c.removeTraces(ctx, t); err != nil {
			return 0, err
		}
		var remove []string
		for _, i := range c.Share(t).Here() {
			// The list of layers goes before the layers, in case an installation follows instead of the rest of this reset.
			remove = append(remove, path.Join(i.Dir, ".layers"))
		}
		// What an upgrade has put beside it is not found through a link that the site made of it.
		if err := t.Agent.ForgetLayers(ctx, agent.Layers{Dir: c.RootfsDir()}); err != nil {
			return 0, err
		}
		if _, err := t.Agent.Tidy(ctx, agent.TidyRequest{Dir: path.Dir(installer.StubPath)}); err != nil { // transfers that were cut off
			return 0, err
		}
		// The journal goes last, with the directory of the cluster: while it is there, a reset that was cut off can be run again.
		// Every run brings the stub anew, so that it can go, too.
		mounted, err := t.Agent.Clear(ctx, agent.ClearRequest{Paths: append(remove, c.ownDirs()...)})
		if err != nil {
			return 0, err
		}
		if len(mounted) > 0 {
			c.Report.Warnf("%s: file systems of the site are mounted in %s; they stay as they are: %s", t.IP, c.Dir(), installer.NameSome(mounted))
		}
		t.Journal.Forget()
		return 1, nil
	})
}

// removeTraces removes what kubeadm, kubelet and pods have left in places that no script of an image cleans.
func (c *Cleaner) removeTraces(ctx context.Context, t *fleet.Target) error {
	if err := c.Nodes.Tidy(ctx, t, true); err != nil {
		return err
	}
	for _, q := range []agent.TidyRequest{
		{Dir: kubeadm.AuditLogDir, Known: []string{"audit.log", "audit-*.log", "audit-*.log.gz"}},
		// kubelet names them by namespace, name and id of the pod, and by pod, namespace and container.
		{Dir: "/var/log/pods", Known: []string{"*_*_*"}},
		{Dir: "/var/log/containers", Known: []string{"*_*_*-*.log"}},
	} {
		left, err := t.Agent.Tidy(ctx, q)
		if err != nil {
			return fmt.Errorf("remove the logs of pods: %w", err)
		}
		if len(left) > 0 {
			c.Report.Warnf("%s: these are not the cluster's and stay: %s", t.IP, installer.NameSome(left))
		}
	}
	busy, err := t.Agent.RemovePodCgroups(ctx)
	if err != nil {
		return fmt.Errorf("remove the control groups of pods: %w", err)
	}
	if len(busy) > 0 {
		c.Report.Warnf("%s: processes that are none of the cluster's pods, or that nothing can end, run in control groups of kubelet; these stay until the next boot: %s", t.IP, installer.NameSome(busy))
	}
	return nil
}
