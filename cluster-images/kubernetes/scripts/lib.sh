#!/usr/bin/env bash
# Shared by the scripts of this image; sourced, never run.
#
# Everything a script puts on a host goes through install_file and make_dir, which write down what they did below
# $state before they do it. Running a script again therefore changes only what differs, and cleaning takes away exactly
# what was put there and brings back what was there before.
# shellcheck disable=SC2034 # used by the scripts that source this
set -euo pipefail
export LC_ALL=C PATH="${PATH:-/usr/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nothing here ever goes through a proxy: the registries are the cluster's own.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

script=$(basename -- "$0")
rootfs=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
state_root=/var/lib/sealos/installed
state=
: "${BIN_DIR:=/usr/bin}" "${criData:=/var/lib/containerd}" "${registryData:=/var/lib/registry}"
: "${registryConfig:=/etc/registry}" "${registryPort:=5000}" "${swapMode:=off}" "${firewallMode:=ask}"
: "${SEALOS_SYS_RUN_MODE:=node}" "${SEALOS_SYS_CRI_ENDPOINT:=/var/run/containerd/containerd.sock}"
certs_dir=/etc/containerd/certs.d

say() { printf '%s: %s\n' "$script" "$*"; }
warn() { printf '%s: warning: %s\n' "$script" "$*" >&2; }
die() {
	printf '%s: error: %s\n' "$script" "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
sha() { sha256sum <"$1" | cut -d' ' -f1; }

# use_state COMPONENT: what is installed from here on belongs to COMPONENT (registry, cri or kube).
use_state() {
	state=$state_root/$1
	mkdir -p -- "$state/backup"
}

# safe_dir NAME PATH: refuses a path that recursive work must never start from.
safe_dir() {
	case $2 in
	/*/*) ;;
	*) die "$1 is \"$2\": an absolute path at least two levels deep is needed" ;;
	esac
	case $2 in
	*/../* | */.. | */./* | */. | *//* | */ | *[[:space:]]*) die "$1 is \"$2\": write it as a plain absolute path without blanks" ;;
	/usr/* | /var/lib | /var/log | /var/cache | /var/run | /var/run/* | /var/tmp | /etc/kubernetes* | /etc/ssh* | /etc/systemd* | /var/lib/kubelet | /var/lib/sealos | /var/lib/etcd | /var/lib/dpkg | /var/lib/rpm | /home/* | /boot/* | /proc/* | /sys/* | /dev/*)
		die "$1 is \"$2\": that directory belongs to something else"
		;;
	esac
}

# record KIND PATH [SHA256]: one line per path; the last word counts. Kinds: bin (removed if still what was installed),
# conf (removed), dir (removed if empty), tree (removed with all that is in it).
record() {
	local kind=$1 path=$2 sum=${3:--} tmp=$state/.files.new
	{
		if [[ -f $state/files ]]; then
			awk -v p="$path" '{ q = $0; sub(/^[^ ]+ [^ ]+ /, "", q); if (q != p) print }' "$state/files"
		fi
		printf '%s %s %s\n' "$kind" "$sum" "$path"
	} >"$tmp"
	sync -- "$tmp"
	mv -f -- "$tmp" "$state/files"
}
recorded() {
	[[ -f $state/files ]] && awk -v p="$1" '{ q = $0; sub(/^[^ ]+ [^ ]+ /, "", q); if (q == p) f = 1 } END { exit !f }' "$state/files"
}

# make_dir MODE PATH [tree]: makes the directory and its missing parents.
make_dir() {
	local mode=$1 path=$2 kind=${3:-dir}
	[[ -d $path ]] && return 0
	local parent=${path%/*}
	[[ -z $parent || -d $parent ]] || make_dir 0755 "$parent"
	record "$kind" "$path"
	mkdir -m "$mode" -- "$path"
}

# keep_former PATH: what is there, and was not put there by this image, comes back when the image is removed.
keep_former() {
	[[ -e $1 || -L $1 ]] && ! recorded "$1" || return 0
	mkdir -p -- "$state/backup${1%/*}"
	rm -f -- "$state/.backup.new"
	cp -a -- "$1" "$state/.backup.new"
	mv -fT -- "$state/.backup.new" "$state/backup$1"
	say "kept the former $1 for the day this image is removed"
}

# install_file MODE SOURCE TARGET [KIND]: puts a file in place with one rename, so that a running program keeps its old
# one. Sets changed=yes when the target had other content, and leaves a note for restart_if_needed.
changed=no
install_file() {
	local mode=$1 src=$2 dst=$3 kind=${4:-bin} sum tmp
	[[ -f $src ]] || die "$src is missing from the cluster image"
	sum=$(sha "$src")
	make_dir 0755 "${dst%/*}"
	if [[ -f $dst && ! -L $dst && $(sha "$dst") == "$sum" ]]; then
		[[ $(stat -c %a -- "$dst") == "${mode#0}" ]] || chmod -- "$mode" "$dst"
		return 0
	fi
	[[ ! -d $dst ]] || die "$dst is a directory; a file is to be put there"
	keep_former "$dst"
	record "$kind" "$dst" "$sum"
	: >"$state/restart"
	tmp=$(mktemp -- "${dst%/*}/.${dst##*/}.XXXXXX")
	if ! { cat -- "$src" >"$tmp" && chmod -- "$mode" "$tmp" && sync -- "$tmp" && mv -fT -- "$tmp" "$dst"; }; then
		rm -f -- "$tmp"
		die "cannot write $dst; is there space on its filesystem?"
	fi
	changed=yes
	say "installed $dst"
}

# install_text MODE TARGET [KIND]: the same for text on standard input.
install_text() {
	local tmp
	tmp=$(mktemp -- "$state/.text.XXXXXX")
	cat >"$tmp"
	install_file "$1" "$tmp" "$2" "${3:-conf}"
	rm -f -- "$tmp"
}

# start_unit UNIT: enables and starts it; restarts it when something it reads was changed, also by an earlier run that
# did not come this far.
start_unit() {
	systemctl daemon-reload
	systemctl enable "$1" >/dev/null 2>&1 || die "systemctl enable $1 failed; see systemctl status $1"
	if [[ -e $state/restart ]] && systemctl is-active --quiet "$1"; then
		say "restarting $1"
		systemctl restart "$1" || unit_failed "$1"
	elif ! systemctl is-active --quiet "$1"; then
		systemctl reset-failed "$1" >/dev/null 2>&1 || true
		say "starting $1"
		systemctl start "$1" || unit_failed "$1"
	fi
}
unit_failed() {
	systemctl status --no-pager --lines=20 "$1" >&2 || true
	die "$1 does not run; its log: journalctl -u $1"
}

# wait_for SECONDS UNIT COMMAND…: until the command succeeds; a unit that died ends the wait with its log.
wait_for() {
	local end=$((SECONDS + $1)) unit=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || unit_failed "$unit"
		sleep 0.3
	done
}

# uninstall COMPONENT: takes away what is recorded, newest first, and puts back what was kept. Can be run again.
uninstall() {
	local kind sum path
	state=$state_root/$1
	[[ -d $state ]] || return 0
	if [[ -f $state/files ]]; then
		while read -r kind sum path; do
			case $kind in
			bin)
				if [[ -f $path && ! -L $path && $(sha "$path") != "$sum" ]]; then
					[[ -e $state/backup$path ]] || warn "$path was changed by something else since; it stays"
					rm -f -- "${path%/*}/.${path##*/}."??????
					continue
				fi
				rm -f -- "$path"
				;;
			conf) rm -f -- "$path" ;;
			dir) [[ ! -d $path ]] || rmdir --ignore-fail-on-non-empty -- "$path" 2>/dev/null || true ;;
			tree) remove_tree "$path" ;;
			esac
			# What was to take its place, or its former one's, when a script was killed.
			rm -f -- "${path%/*}/.${path##*/}."?????? "$path.sealos-restore"
			if [[ -e $state/backup$path || -L $state/backup$path ]]; then
				cp -a -- "$state/backup$path" "$path.sealos-restore"
				mv -fT -- "$path.sealos-restore" "$path"
				say "brought back the former $path"
			fi
		done < <(tac "$state/files")
	fi
	rm -rf -- "$state"
	rmdir --ignore-fail-on-non-empty -- "$state_root" 2>/dev/null || true
}

# mounts_below PATH: mount points strictly below it, deepest first, as the kernel writes them.
mounts_below() {
	awk -v p="$1/" 'index($5, p) == 1 { print $5 }' /proc/self/mountinfo | sort -ru
}
mounted() { awk -v p="$1" '$5 == p { f = 1 } END { exit !f }' /proc/self/mountinfo; }
plain() { printf '%b' "${1//\\/\\0}"; }
# site_mount TARGET: it is the site that mounts there, by /etc/fstab or a unit of systemd.
site_mount() {
	local unit
	# Not by -v, which would read the escapes.
	target=$1 awk '$1 !~ /^#/ && $2 == ENVIRON["target"] { f = 1 } END { exit !f }' /etc/fstab 2>/dev/null && return 0
	have systemd-escape || return 1
	unit=$(systemctl show -p FragmentPath "$(systemd-escape --path --suffix=mount -- "$(plain "$1")")" 2>/dev/null) || return 1
	[[ -n ${unit#FragmentPath=} ]]
}
# unmount_below PATH: what the site mounts there stays; a filesystem that does not answer is detached rather than waited for.
unmount_below() {
	local mount target
	while read -r mount; do
		if site_mount "$mount"; then continue; fi
		target=$(plain "$mount")
		umount -- "$target" 2>/dev/null || umount -l -- "$target" 2>/dev/null || warn "cannot unmount $target"
	done < <(mounts_below "$1")
}
# remove_tree PATH…: recursive, and never into something that is still mounted there. What the site made of a directory
# stays what it is: a link leads where it led, and what the site mounts there or below stays mounted; all of it is emptied.
remove_tree() {
	local path real mount
	for path; do
		[[ -e $path || -L $path ]] || continue
		if [[ ! -d $path ]]; then
			rm -f -- "$path"
			continue
		fi
		real=$(readlink -f -- "$path")
		unmount_below "$real"
		while read -r mount; do
			site_mount "$mount" || die "something is still mounted on $(plain "$mount"); unmount it and run $script again"
		done < <(mounts_below "$real")
		if [[ ! -L $path && -z $(mounts_below "$real") ]] && ! mounted "$real"; then
			rm -rf --one-file-system -- "$path"
			continue
		fi
		while read -r mount; do empty_mount "$(plain "$mount")"; done < <(mounts_below "$real")
		empty_mount "$real"
	done
}
# empty_mount PATH: what lies on its own filesystem.
empty_mount() {
	find "$1" -xdev -mindepth 1 ! -type d ! -path "$1/lost+found/*" -delete
	# The mount points below are busy, and stay.
	find "$1" -xdev -mindepth 1 -type d ! -path "$1/lost+found*" -empty -delete 2>/dev/null || true
}
