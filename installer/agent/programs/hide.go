package programs

import "github.com/sealbuild/sealbuild/installer/agent"

// hideScript runs a program in a mount namespace in which directories are empty: another file system is mounted over each. What
// was mounted below them is not there either, so that the program cannot unmount it. The arguments are the directories, the
// files in them of which the program finds copies, and the program; -- ends the first two lists.
const hideScript = `set -e
umask 077
dirs=() files=()
while [[ $1 != -- ]]; do dirs+=("$1"); shift; done
shift
declare -A text
while [[ $1 != -- ]]; do
	if [[ -f $1 ]]; then files+=("$1") text[$1]=$(<"$1"); fi
	shift
done
shift
mapfile -t mounts </proc/self/mounts
for dir in "${dirs[@]}"; do
	[[ -d $dir ]] || continue
	dir=$(readlink -f -- "$dir")
	for mount in "${mounts[@]}"; do
		read -r _ at _ <<<"$mount"
		# One below another that is away is away with it.
		if [[ $at == "$dir"/* ]]; then umount --lazy -- "$(printf '%b' "${at//\\/\\0}")" 2>/dev/null || true; fi
	done
	mount -t tmpfs -o mode=0700,size=4m tmpfs "$dir"
done
for file in "${files[@]}"; do
	mkdir -p -- "${file%/*}"
	printf '%s\n' "${text[$file]}" >"$file"
done
exec "$@"
`

// hiding is the command line of a request, with what hides its directories.
func hiding(q agent.ExecRequest) []string {
	if len(q.Hide) == 0 {
		return q.Argv
	}
	argv := append([]string{"unshare", "--mount", "--propagation", "private", "bash", "-c", hideScript, "hide"}, q.Hide...)
	argv = append(append(argv, "--"), q.Show...)
	return append(append(argv, "--"), q.Argv...)
}
