package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// What a bundle that only adds applications is held against: it can change nothing but these.

// withRootfs is what an operator does to change what only the bundle with the rootfs changes.
func (l *Ledger) withRootfs() string {
	return "leave it out here, or change it with the bundle that brings " + l.Payload.Rootfs().Name
}

// unrecorded finds hosts that have another rootfs or other patches than the record says.
func (l *Ledger) unrecorded() []preflight.Problem {
	if l.Payload.Rootfs().Name == "" {
		return nil // no record was found
	}
	var out []preflight.Problem
	for _, t := range fleet.Only(l.Targets, (*fleet.Target).InCluster) {
		here, recorded := t.Journal.Of(journal.Images), l.Share(t).Description()
		if here == "" || slices.Equal(withoutDigests(here), withoutDigests(recorded)) {
			continue // an installer that did not write the mark made the cluster
		}
		out = append(out, preflight.Problem{
			Host: t.IP.String(), Check: "version",
			Message: fmt.Sprintf("it has %s, and the record of the cluster says %s", imagesInWords(here), strings.Join(withoutDigests(recorded), " with ")),
			Remedy:  "run the bundle that brings what the cluster is to have, then this one",
		})
	}
	return out
}

// withoutDigests gives the lines VERSION NAME of a mark [journal.Images]: a record knows no digests.
func withoutDigests(mark string) []string {
	var out []string
	for line := range strings.Lines(mark) {
		f := strings.Fields(line)
		out = append(out, strings.Join(f[max(0, len(f)-2):], " "))
	}
	return out
}

// otherSettings finds settings of hosts and of the control plane that were given with a bundle that only adds applications.
func (l *Ledger) otherSettings() []preflight.Problem {
	if !l.Payload.Adds() || l.Recorded == nil {
		return nil
	}
	var out []preflight.Problem
	refuse := func(format string, args ...any) {
		out = append(out, preflight.Problem{Check: "rootfs", Message: fmt.Sprintf(format, args...) + "; this bundle only adds applications", Remedy: l.withRootfs()})
	}
	if !slices.EqualFunc(l.Cluster.Kubeadm, l.Recorded.Kubeadm, func(a, b []byte) bool { return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) }) {
		refuse("the documents for kubeadm are others than the cluster has")
	}
	if has, asked := l.Payload.VIP(l.Recorded), l.Payload.VIP(l.Cluster); has != asked {
		refuse("the virtual address is %s and cannot become %s", has, asked)
	}
	if has, asked := l.Payload.Access(l.Recorded), l.Payload.Access(l.Cluster); has != asked {
		refuse("the registry is %s and cannot become %s", registryInWords(has), registryInWords(asked))
	}
	var later []string
	for name, value := range l.Cluster.Env {
		if l.Recorded.Env[name] != value && !l.Cluster.SecretEnv(name, value) {
			later = append(later, name)
		}
	}
	if slices.Sort(later); len(later) > 0 {
		l.Report.Infof("%s: recorded for the cluster; its hosts get it with the next run of the bundle that brings %s", strings.Join(later, ", "), l.Payload.Rootfs().Name)
	}
	if _, given := l.Cluster.Env["registryPassword"]; given {
		refuse("registryPassword is given")
	}
	return out
}

func registryInWords(a payload.Access) string {
	return fmt.Sprintf("%s:%s for %s in %s", a.Domain, a.Port, a.User, a.Data)
}

// keepCommand records the command that was given for an application on its own. What spec.command says is for an application
// of the bundle that the cluster was made with.
func (l *Ledger) keepCommand(made *installer.Cluster) error {
	if !l.Payload.Adds() || l.Recorded == nil {
		return nil
	}
	given := site.Adding{Site: l.Site}.CommandGiven()
	made.Command = l.Recorded.Command
	if !given {
		return nil
	}
	images := l.Payload.Images
	return made.NoteCommand(images[len(images)-1].Name, l.Cluster.Command)
}
