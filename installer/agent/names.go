package agent

// Names of verbs, as they stand on the command line.
const (
	VerbFacts      = "facts"
	VerbWriteFiles = "write-files"
	VerbReadFiles  = "read-files"
	VerbHosts      = "hosts"
	VerbScript     = "script"
	VerbExec       = "exec"
	VerbPrepare    = "prepare-layers"
	VerbUnpack     = "unpack"
	VerbSwitch     = "switch-layers"
	VerbRegistry   = "registry-receive"
	VerbRemove     = "remove"
	VerbClear      = "clear"
	VerbTidy       = "tidy"
	VerbPodCgroups = "pod-cgroups"
	VerbCareStart  = "care-start"
	VerbCareStop   = "care-stop"
	VerbLock       = "lock"
	VerbListen     = "listen"
	VerbReach      = "reach"
	VerbInstaller  = "installer"
	VerbDirs       = "dirs"
)

// repeatable tells of verbs that change nothing that already is as asked, all of themselves: what a script or a program
// does nobody knows.
func repeatable(verb string) bool {
	switch verb {
	case VerbFacts, VerbReadFiles, VerbWriteFiles, VerbHosts, VerbRemove, VerbClear, VerbTidy, VerbPodCgroups, VerbReach, VerbPrepare, VerbSwitch:
		return true
	}
	return false
}

// Quiet tells of verbs that work without a word for as long as a disk takes; what a script or a program does has limits of its own.
func Quiet(verb string) bool {
	switch verb {
	case VerbFacts, VerbWriteFiles, VerbReadFiles, VerbHosts, VerbPrepare, VerbUnpack, VerbSwitch,
		VerbRemove, VerbClear, VerbTidy, VerbPodCgroups, VerbInstaller:
		return true
	}
	return false
}
