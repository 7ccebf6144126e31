#!/usr/bin/env bash
# Fetching upstream files on a connected machine; sourced by the images' fetch.sh.
#
# A file is looked up in checksums.txt, downloaded into a cache under its pinned sha256 (continuing what an interrupted
# run left), checked, and only then used. Nothing unpinned is ever used.
# shellcheck disable=SC2034 # used by the scripts that source this
set -euo pipefail
export LC_ALL=C

here=$(cd -- "$(dirname -- "$0")" && pwd -P)
checksums=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/checksums.txt
cache=${SEALBUILD_FETCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealbuild/upstream}
arch=
from=

die() {
	printf 'fetch: error: %s\n' "$*" >&2
	exit 1
}
say() { printf 'fetch: %s\n' "$*"; }
sha() { sha256sum <"$1" | cut -d' ' -f1; }

host_arch() {
	case $(uname -m) in
	x86_64) printf 'amd64\n' ;;
	aarch64 | arm64) printf 'arm64\n' ;;
	*) uname -m ;;
	esac
}

# options ARGUMENT…: --arch, --version, --from, --checksums into variables.
options() {
	while (($# > 0)); do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--arch | --version | --from | --checksums)
			(($# > 1)) || die "$1 needs a value"
			case $1 in
			--arch) arch=$2 ;;
			--version) version=v${2#v} ;;
			--from) from=$2 ;;
			--checksums) checksums=$2 ;;
			esac
			shift 2
			;;
		*) die "unknown argument $1; see --help" ;;
		esac
	done
	: "${arch:=$(host_arch)}"
	case $arch in amd64 | arm64) ;; *) die "architecture $arch is not one of amd64, arm64" ;; esac
	[[ -z $from || -d $from ]] || die "--from $from: no such directory"
	[[ -r $checksums ]] || die "cannot read $checksums"
}

# download URL SHA256: into the cache; prints the path. A partial file left by an interrupted run is continued once; if
# what results is wrong, it is fetched anew once before giving up.
download() {
	local url=$1 sum=$2 file=$cache/$2 part=$cache/$2.part got=nothing try progress=--silent
	if [[ -f $file && $(sha "$file") == "$sum" ]]; then
		printf '%s\n' "$file"
		return 0
	fi
	mkdir -p -- "$cache"
	[[ -t 2 ]] && progress=--progress-bar
	for try in 1 2; do
		if curl "$progress" --show-error --fail --location --retry 5 --retry-delay 2 --connect-timeout 20 \
			--speed-limit 1024 --speed-time 60 --continue-at - --output "$part" -- "$url" >&2; then
			got=$(sha "$part")
			if [[ $got == "$sum" ]]; then
				sync -- "$part"
				mv -f -- "$part" "$file"
				printf '%s\n' "$file"
				return 0
			fi
		elif [[ -f $part && $(sha "$part") == "$sum" ]]; then
			mv -f -- "$part" "$file"
			printf '%s\n' "$file"
			return 0
		elif ((try == 2)); then
			die "cannot download $url; run the same command again to continue"
		fi
		# Only a wrong file is thrown away; a short one is continued by the second attempt or the next run.
		[[ $got == nothing ]] || rm -f -- "$part"
	done
	die "$url has sha256 $got, but $sum is pinned in $checksums; the file was not used"
}

# pinned NAME VERSION: the cached, checked file.
pinned() {
	local line
	line=$(awk -v n="$1" -v v="$2" -v a="$arch" '$1 == n && $2 == v && ($3 == a || $3 == "any") { print $4, $5; exit }' "$checksums")
	[[ -n $line ]] || die "no pinned checksum of $1 $2 for $arch in $checksums; add a line with the sum its project publishes"
	[[ ${line%% *} =~ ^[0-9a-f]{64}$ ]] || die "the checksum of $1 $2 in $checksums is not a sha256"
	printf 'fetch: %s %s %s\n' "$1" "$2" "$arch" >&2
	download "${line#* }" "${line%% *}"
}

# put SOURCE TARGET: an executable file of the image.
put() {
	mkdir -p -- "${2%/*}"
	cp --reflink=auto -- "$1" "$2"
	chmod 0755 -- "$2"
}

# swap_in NEW TARGET: the finished directory takes the place of an older one.
swap_in() {
	local old
	mkdir -p -- "${2%/*}"
	if [[ -e $2 ]]; then
		old=$(mktemp -d "${2%/*}/.old.XXXXXX")
		mv -T -- "$2" "$old/x"
		mv -T -- "$1" "$2"
		rm -rf -- "$old"
	else
		mv -T -- "$1" "$2"
	fi
}
