package preflight

// Checks are the names of the checks that an operator may ignore, sorted; the remark at each stands in the reference.
func Checks() []string {
	return []string{
		"antivirus",    // a scanner that looks at every file that is opened
		"api-versions", // before an upgrade: objects, releases of Helm, manifests and charts by versions that are not served any more
		"apparmor",     // AppArmor in the kernel, and its parser missing
		"capacity",     // before hosts leave: room for their pods on those that stay
		"cgroup",       // control groups: mounted, of a version that kubelet takes, with cpu, memory and pids
		"check.sh",     // the check script of a cluster image
		"clock",        // clocks apart by more than 30 s; a clock that nothing keeps right
		"corefile",     // before an upgrade: plugins of CoreDNS of which nobody knows what becomes of them
		"cpu",          // two CPUs on a master
		"disk",         // room for what goes there, on each file system; thresholds at which kubelet evicts pods
		"disk-speed",   // how long the disk of etcd takes until a write is durable
		"drain",        // before an upgrade: pods that cannot be moved away
		"fapolicyd",    // fapolicyd, which stops programs that it does not know
		"file-types",   // XFS without ftype, on which no container's file system works
		"firewall",     // a firewall that is on
		"flags",        // before an upgrade: arguments, feature gates and settings that the new programs do not take
		"host-name",    // names that are no node's, that two hosts have, or that a boot may change; copies of one disk
		"inodes",       // inodes for the files of images
		"kubernetes",   // traces of another cluster
		"leftovers",    // network links and configurations of pods that an earlier cluster has left
		"memory",       // 1700 MiB on a master, 700 MiB on a worker
		"module",       // kernel modules for containers and their network
		"nameserver",   // name servers that never answer
		"noexec",       // file systems mounted noexec from which programs are run
		"own-name",     // whether a host resolves its own name
		"port",         // ports that something else has taken
		"proxy",        // proxies that services of a host would be sent through to reach the cluster
		"reach",        // connections between the hosts, tried in both directions
		"read-only",    // file systems mounted read-only that are to be written to
		"runtime",      // a container runtime that is there already
		"selinux",      // SELinux that enforces
		"subnet",       // networks of pods and Services over addresses and routes of hosts
		"swap",         // swap that is on
		"tool",         // programs that scripts and kubelet call
		"vip",          // the virtual address: nobody else's, and in force on every worker
	}
}

// Essential are the names of the checks that nobody may ignore, sorted: without what they look at there is nothing to install,
// or more would be lost than a run.
func Essential() []string {
	return []string{
		"another-cluster", // the host, or the record of this machine, is of another cluster
		"architecture",    // the bundle has nothing for the host's architecture
		"certificates",    // in status: certificates that have ended
		"cluster",         // hosts, nodes and masters that the command needs and the cluster does not have
		"configuration",   // files of images that cannot be rendered with what is given
		"connect",         // the host: reached by ssh, its key, the login, root
		"dead",            // a host that is to leave as a dead one, and lives
		"etcd",            // members, majority, alarms, quota; what lies in its data directory
		"first-master",    // a first master outside a cluster that others are in
		"lock",            // another installer at work
		"record",          // hosts that the record has and the command would forget; records that cannot be read
		"registry",        // in status: registries that do not answer, or lack images
		"rootfs",          // a bundle of applications without the cluster it is for; patches that are missing
		"settings",        // settings that are not in force, that somebody has changed by hand, or that cannot change any more
		"taken-out",       // in status: hosts that were taken out as dead ones, and are back
		"tunnel",          // a host that is named by the near end of a tunnel
		"version",         // another Kubernetes or another build of the rootfs than the one that runs
	}
}
