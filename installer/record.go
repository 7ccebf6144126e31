package installer

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// annotationBundle is the digests of the indexes of the bundles that a cluster was made with, the first one first.
	annotationBundle = "sealbuild.io/bundle"
	// annotationCommand, with the name of an application, is the command that was given for it.
	annotationCommand = "command.sealbuild.io/"
	maxBundles        = 16 // older ones are forgotten
	// annotationTakenOut is the addresses of hosts that were taken out of the cluster, the last one last.
	annotationTakenOut = "sealbuild.io/taken-out"
	maxTakenOut        = 64 // older ones are forgotten
)

// Finished tells whether the last run that is recorded of the cluster ended well.
func (c *Cluster) Finished() bool { return c.Status.Phase == PhaseSuccess }

// MadeWith tells whether the cluster was made with the bundle whose index has a digest.
func (c *Cluster) MadeWith(bundle string) bool {
	return slices.Contains(c.Bundles(), bundle)
}

// Bundles are the digests of the indexes of the bundles that the cluster was made with, the first one first.
func (c *Cluster) Bundles() []string { return strings.Fields(c.Annotations[annotationBundle]) }

// Note records a bundle that the cluster is made with.
func (c *Cluster) Note(bundle string) {
	if c.MadeWith(bundle) {
		return
	}
	c.Annotations = MergeEnv(c.Annotations)
	all := append(c.Bundles(), bundle)
	c.Annotations[annotationBundle] = strings.Join(all[max(0, len(all)-maxBundles):], " ")
}

// NoteOnly records the bundle that the cluster is made with from now on: what it was made with before brings something else.
func (c *Cluster) NoteOnly(bundle string) {
	c.Annotations = MergeEnv(c.Annotations, map[string]string{annotationBundle: bundle})
}

// TakenOut are the addresses of hosts that were in the cluster and are not any more, as far as it is recorded.
func (c *Cluster) TakenOut() (out []string) {
	for _, entry := range c.takenOut() {
		out = append(out, strings.TrimPrefix(entry, wasDead))
	}
	return out
}

// Buried are those of [Cluster.TakenOut] that were dead. Nobody has cleaned them: they may come back as they were.
func (c *Cluster) Buried() (out []string) {
	for _, entry := range c.takenOut() {
		if ip, dead := strings.CutPrefix(entry, wasDead); dead {
			out = append(out, ip)
		}
	}
	return out
}

// wasDead stands before the addresses in [annotationTakenOut] of hosts that were dead.
const wasDead = "dead:"

// takenOut are the entries of [annotationTakenOut], without hosts that are in the cluster again.
func (c *Cluster) takenOut() []string {
	return slices.DeleteFunc(strings.Fields(c.Annotations[annotationTakenOut]), func(entry string) bool {
		return slices.Contains(c.IPs(), strings.TrimPrefix(entry, wasDead))
	})
}

// NoteTakenOut records hosts that are not in the cluster any more, and tells of each whether it was dead. Those that are in it
// again are forgotten.
func (c *Cluster) NoteTakenOut(hosts map[string]bool) {
	all := strings.Fields(c.Annotations[annotationTakenOut])
	for _, ip := range slices.Sorted(maps.Keys(hosts)) {
		all = slices.DeleteFunc(all, func(entry string) bool { return strings.TrimPrefix(entry, wasDead) == ip })
		if hosts[ip] {
			all = append(all, wasDead+ip)
		} else {
			all = append(all, ip)
		}
	}
	c.Annotations = MergeEnv(c.Annotations, map[string]string{annotationTakenOut: strings.Join(all, " ")})
	if all = c.takenOut(); len(all) == 0 {
		delete(c.Annotations, annotationTakenOut)
		return
	}
	c.Annotations[annotationTakenOut] = strings.Join(all[max(0, len(all)-maxTakenOut):], " ")
}

// CommandFor is the command that was given for an application when it was added to the cluster; nil if none was.
func (c *Cluster) CommandFor(image string) []string {
	var out []string
	if json.Unmarshal([]byte(c.Annotations[commandKey(image)]), &out) != nil {
		return nil
	}
	return out
}

// NoteCommand records the command that was given for an application.
func (c *Cluster) NoteCommand(image string, command []string) error {
	text, err := json.Marshal(command)
	if err != nil {
		return err
	}
	c.Annotations = MergeEnv(c.Annotations)
	c.Annotations[commandKey(image)] = string(text)
	return nil
}

// commandKey is the name of an annotation: it may hold one slash only.
func commandKey(image string) string { return annotationCommand + strings.ReplaceAll(image, "/", "_") }

// KubeVersion is the Kubernetes version of the rootfs that a record speaks of; empty when it speaks of none.
func (s Status) KubeVersion() string {
	for _, m := range s.Mounts {
		if m.Type == TypeRootfs {
			return m.Labels["version"]
		}
	}
	return ""
}

// WroteAt is when the record was written that a status is of; zero if it does not say, as that of a run that is at work.
func (s Status) WroteAt() (last time.Time) {
	for _, condition := range s.Conditions {
		if t, err := time.Parse(time.RFC3339, condition.LastHeartbeatTime); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// MarkRecorded notes which hosts are in the record of a finished cluster, see [Host.Recorded].
func (c *Cluster) MarkRecorded(finished *Cluster) {
	for i := range c.Hosts {
		if slices.ContainsFunc(finished.Hosts, func(h Host) bool { return h.IP == c.Hosts[i].IP }) {
			c.Hosts[i].Recorded = finished.Status.WroteAt()
		}
	}
}

// Take takes the hosts at some addresses out of a recorded cluster: they become [Cluster.Leaving]. An address that is no host
// of the cluster is an error.
func (c *Cluster) Take(addresses []Address) error {
	if err := c.Select(addresses); err != nil {
		return err
	}
	var stay []Host
	for _, h := range c.Hosts {
		if h.Away { // not among the addresses
			h.Away = false
			stay = append(stay, h)
		} else {
			c.Leaving = append(c.Leaving, h)
		}
	}
	c.Hosts = stay
	return nil
}

// LeftOut is the type of the condition of a cluster that a reset has taken apart except for some hosts.
const LeftOut = "ResetLeftOut"

// TakenApart tells whether a reset has taken the recorded cluster apart, and only hosts that it left out remain.
func (s Status) TakenApart() bool {
	return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.Type == LeftOut })
}

// ForeignClusterError says that another cluster is recorded under the name: none of its masters was named.
type ForeignClusterError struct {
	Name     string
	Recorded []string // its masters
}

func (e *ForeignClusterError) Error() string {
	return fmt.Sprintf("a cluster %q is recorded, with the masters %s, and no master that is named is one of them: give another site a name of its own (--cluster NAME); to add masters to this cluster, name one that it has too",
		e.Name, strings.Join(e.Recorded, ", "))
}

// Extend completes c, the cluster that is wanted, by its record. Every recorded host stays in the cluster: one that c does not
// name is [Host.Away]. Settings for ssh that c leaves open are as recorded. If c names no recorded master it is another
// cluster, which is a *ForeignClusterError. A master cannot become a worker or the other way round: that is an error, too.
func (c *Cluster) Extend(recorded *Cluster) error {
	named := map[netip.Addr]Host{}
	for _, h := range c.Hosts {
		named[h.IP] = h
	}
	met := false
	var hosts []Host
	for _, r := range recorded.Hosts {
		h, ok := named[r.IP]
		if !ok {
			r.Away = true
			hosts = append(hosts, r)
			continue
		}
		if h.Master != r.Master {
			return fmt.Errorf("host %s is a %s of cluster %s and cannot become a %s: leave it as it is, or take the cluster apart with reset", r.IP, role(r.Master), recorded.Name, role(h.Master))
		}
		met = met || r.Master
		h.SSH = h.SSH.or(c.SSH).or(r.SSH.chosen()).or(recorded.SSH.chosen())
		if h.Env == nil {
			h.Env = r.Env
		}
		hosts = append(hosts, h)
	}
	if !met {
		return &ForeignClusterError{Name: recorded.Name, Recorded: recorded.MasterIPs()}
	}
	for _, h := range c.Hosts {
		if !slices.ContainsFunc(recorded.Hosts, func(r Host) bool { return r.IP == h.IP }) {
			hosts = append(hosts, h)
		}
	}
	c.Hosts = hosts
	c.SSH = c.SSH.or(recorded.SSH.chosen())
	c.adopt(recorded)
	return nil
}

// chosen leaves out what may be a default of the recorded run and no choice: the operator's own ssh configuration comes before
// defaults.
func (s SSH) chosen() SSH {
	if s.User == DefaultUser {
		s.User = ""
	}
	if s.Port == DefaultSSHPort {
		s.Port = 0
	}
	return s
}

// adopt takes over from the record what c leaves open.
func (c *Cluster) adopt(recorded *Cluster) {
	c.Created, c.Status = recorded.Created, recorded.Status
	if c.Labels == nil {
		c.Labels = recorded.Labels
	}
	c.Annotations = MergeEnv(recorded.Annotations, c.Annotations)
	for _, name := range recorded.Images {
		if !slices.Contains(c.Kept, name) {
			c.Kept = append(c.Kept, name)
		}
	}
}

// Select marks the hosts of a recorded cluster that are not among the addresses
// as [Host.Away]. An address that is no host of the cluster is an error.
func (c *Cluster) Select(addresses []Address) error {
	var unknown []string
	for _, a := range addresses {
		i := slices.IndexFunc(c.Hosts, func(h Host) bool { return h.IP == a.IP })
		if i < 0 {
			unknown = append(unknown, a.IP.String())
			continue
		}
		if a.Port != 0 {
			c.Hosts[i].SSH.Port, c.Hosts[i].Tunnel = a.Port, a.Tunnel()
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no host of cluster %s: %s; its hosts are %s", c.Name, strings.Join(unknown, ", "), strings.Join(c.IPs(), ", "))
	}
	for i := range c.Hosts {
		c.Hosts[i].Away = !slices.ContainsFunc(addresses, func(a Address) bool { return a.IP == c.Hosts[i].IP })
	}
	return nil
}

func role(master bool) string {
	if master {
		return "master"
	}
	return "node"
}
