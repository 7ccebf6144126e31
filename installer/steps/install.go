// Package steps is the pipelines: one file for each step, in the order of the list that [Install] returns. A step reads
// what the operator wants (the cluster), what was found (facts and marks of each host) and what the bundle holds, and
// changes hosts through their agents alone.
//
// Every step can be run again. What is done already is seen on the host itself: by the files where these tell, by a mark
// where they do not (see [journal.Journal.Under]).
package steps

import (
	"slices"

	"github.com/sealbuild/sealbuild/installer"
)

// Step is a step of the pipelines of this package.
type Step = installer.Step[*Run]

// Install is the whole installation.
func Install() []Step {
	return []Step{
		{Name: "check", Title: "look at every host, report every problem", Run: (*Run).check},
		{Name: "open-bundle", Title: "verify every byte of the bundle", Run: (*Run).openBundle},
		{Name: "render", Title: "render templates for each host", Run: (*Run).render},
		{Name: "distribute-rootfs", Title: "unpack cluster images on the hosts", Run: (*Run).distributeRootfs},
		{Name: "distribute-registry", Title: "send missing images to the registry hosts", Run: (*Run).distributeRegistry},
		{Name: "bootstrap", Title: "host names, registry, runtime, kubelet", Run: (*Run).bootstrap, Skip: (*Run).onlyAdds},
		{Name: "init-master0", Title: "start a control plane on the first master", Run: (*Run).initMaster0, Skip: (*Run).onlyAdds},
		{Name: "join-masters", Title: "join further masters, one at a time", Run: (*Run).joinMasters, Skip: (*Run).onlyAdds},
		{Name: "join-nodes", Title: "join nodes through the virtual address", Run: (*Run).joinNodes, Skip: (*Run).onlyAdds},
		{Name: "settings", Title: "roll out changed settings, host by host", Run: (*Run).settingsInForce, Skip: (*Run).onlyAdds},
		{Name: "sync-ipvs", Title: "tell every node the masters of now", Run: (*Run).syncIPVS, Skip: (*Run).onlyAdds},
		{Name: "guest", Title: "run the commands of the images", Run: (*Run).guest},
		{Name: "verify", Title: "wait until every node is Ready", Run: (*Run).verify},
	}
}

// Delete takes hosts out of a cluster that goes on.
func Delete() []Step {
	return []Step{
		{Name: "check", Title: "look at every host, ask what would be lost", Run: (*Run).checkLeaving},
		{Name: "render", Title: "render templates for each host that stays", Run: (*Run).render},
		{Name: "drain", Title: "move pods away from the hosts that leave", Run: (*Run).drain},
		{Name: "sync-ipvs", Title: "tell every node the masters that stay", Run: (*Run).syncIPVS},
		{Name: "leave", Title: "take hosts out of etcd and the cluster", Run: (*Run).leave},
		{Name: "distribute-rootfs", Title: "tell every host who is left", Run: (*Run).distributeRootfs, Skip: midway},
		{Name: "bootstrap", Title: "host names, registries, container runtime", Run: (*Run).bootstrap},
		{Name: "follow-masters", Title: "certificates, and kubeadm's configuration", Run: (*Run).followMasters},
		{Name: "clean", Title: "clean the hosts that have left", Run: (*Run).cleanLeft},
		{Name: "verify", Title: "wait until every node is Ready", Run: (*Run).verify, Skip: midway},
	}
}

// Apply makes the cluster what a Clusterfile says: hosts join first, so that there is room for the pods of those that leave.
func Apply() []Step {
	join, leave := Install(), Delete()
	at := slices.IndexFunc(join, func(s Step) bool { return s.Name == "bootstrap" })
	dead := Step{Name: "leave-dead", Title: "take dead hosts out of etcd and cluster", Run: (*Run).leaveDead}
	return slices.Concat(join[:at], []Step{dead}, join[at:], leave[slices.IndexFunc(leave, func(s Step) bool { return s.Name == "drain" }):])
}

// Upgrade brings the hosts of a cluster to what a newer bundle brings: first all of it beside what runs, then one host after the
// other. What the installation does for hosts that are as the bundle has them comes last.
func Upgrade() []Step {
	return []Step{
		{Name: "check", Title: "look at every host, judge the upgrade", Run: (*Run).check},
		{Name: "open-bundle", Title: "verify every byte of the bundle", Run: (*Run).openBundle},
		{Name: "render", Title: "render templates for each host", Run: (*Run).render},
		{Name: "snapshot", Title: "save what etcd holds, on every master", Run: snapshot, Skip: (*Run).onlyAdds},
		{Name: "distribute-registry", Title: "send missing images to the registry hosts", Run: (*Run).distributeRegistry},
		{Name: "stage", Title: "bring what is new beside what runs", Run: stage, Skip: (*Run).onlyAdds},
		{Name: "upgrade-masters", Title: "upgrade masters, one at a time", Run: upgradeMasters, Skip: (*Run).onlyAdds},
		{Name: "upgrade-addons", Title: "upgrade the add-ons of Kubernetes", Run: upgradeAddons, Skip: (*Run).onlyAdds},
		{Name: "upgrade-nodes", Title: "upgrade nodes, some at a time", Run: upgradeNodes, Skip: (*Run).onlyAdds},
		{Name: "distribute-rootfs", Title: "unpack cluster images on the hosts", Run: (*Run).distributeRootfs},
		{Name: "bootstrap", Title: "host names, registry, runtime, kubelet", Run: (*Run).bootstrap, Skip: (*Run).onlyAdds},
		{Name: "settings", Title: "roll out changed settings, host by host", Run: (*Run).settingsInForce, Skip: (*Run).onlyAdds},
		{Name: "sync-ipvs", Title: "tell every node the masters of now", Run: (*Run).syncIPVS, Skip: (*Run).onlyAdds},
		{Name: "guest", Title: "run the commands of the images", Run: (*Run).guest},
		{Name: "verify", Title: "wait until every node is Ready", Run: (*Run).verify},
	}
}

// Rollback gives hosts back what they ran before an upgrade that has not come to its end.
func Rollback() []Step {
	return []Step{
		{Name: "check", Title: "look at every host, judge the way back", Run: checkRollback},
		{Name: "rollback", Title: "give hosts back what they ran before", Run: rollback},
		{Name: "sync-ipvs", Title: "tell every node the masters of now", Run: (*Run).syncIPVS},
		{Name: "verify", Title: "wait until every node is Ready", Run: (*Run).verify},
	}
}

// PlanReset tells what [Reset] would do.
func PlanReset() []Step {
	return []Step{Reset()[0], {Name: "plan", Title: "find what would be done on each host", Run: planReset}}
}

// Preview is the part of a pipeline that changes nothing.
func Preview(list []Step) []Step { return list[:1] }

// onlyAdds tells that the bundle brings applications alone: hosts and control plane stay as they are.
func (r *Run) onlyAdds() bool { return r.Payload.Adds() }

// Reset takes a cluster apart, and leaves clean hosts.
func Reset() []Step {
	return []Step{
		{Name: "connect", Title: "reach every host", Run: (*Run).connectForReset},
		{Name: "reset-kubernetes", Title: "undo kubeadm on nodes, then on masters", Run: (*Run).resetKubernetes},
		{Name: "clean", Title: "run the images' clean scripts", Run: (*Run).cleanHosts},
		{Name: "remove", Title: "remove what was installed", Run: (*Run).removeFiles},
	}
}
