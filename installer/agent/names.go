package agent

// Names of verbs, as they stand on the command line.
const (
	VerbFacts       = "facts"
	VerbWriteFiles  = "write-files"
	VerbReadFiles   = "read-files"
	VerbHosts       = "hosts"
	VerbScript      = "script"
	VerbExec        = "exec"
	VerbPrepare     = "prepare-layers"
	VerbUnpack      = "unpack"
	VerbSwitch      = "switch-layers"
	VerbSwitchBack  = "switch-layers-back"
	VerbForget      = "forget-layers"
	VerbRegistry    = "registry-receive"
	VerbRemove      = "remove"
	VerbClear       = "clear"
	VerbTidy        = "tidy"
	VerbSweep       = "sweep"
	VerbPodCgroups  = "pod-cgroups"
	VerbLock        = "lock"
	VerbListen      = "listen"
	VerbReach       = "reach"
	VerbInstaller   = "installer"
	VerbDirs        = "dirs"
	VerbBlobs       = "registry-blobs"
	VerbBundle      = "registry-bundle"
	VerbCopyPrepare = "copy-prepare"
	VerbCopyPlace   = "copy-place"
	VerbSnapshot    = "etcd-snapshot"
)

// repeatable tells whether a verb may be carried out twice: it changes nothing that is as asked already. Of a script or a
// program this is not known.
func repeatable(verb string) bool {
	switch verb {
	case VerbFacts, VerbReadFiles, VerbWriteFiles, VerbHosts, VerbRemove, VerbClear, VerbTidy, VerbSweep, VerbPodCgroups, VerbReach, VerbPrepare, VerbSwitch,
		VerbSwitchBack, VerbForget, VerbBlobs, VerbBundle, VerbCopyPrepare, VerbCopyPlace, VerbSnapshot:
		return true
	}
	return false
}

// Quiet tells whether a verb may work for long without output, as long as the disk takes. Signs of life are sent for it
// meanwhile. Scripts and programs have limits of their own.
func Quiet(verb string) bool {
	switch verb {
	case VerbFacts, VerbWriteFiles, VerbReadFiles, VerbHosts, VerbPrepare, VerbUnpack, VerbSwitch,
		VerbSwitchBack, VerbForget, VerbRemove, VerbClear, VerbTidy, VerbSweep, VerbPodCgroups, VerbInstaller, VerbBlobs, VerbBundle,
		VerbCopyPrepare, VerbCopyPlace, VerbSnapshot:
		return true
	}
	return false
}
