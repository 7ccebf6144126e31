#!/usr/bin/env bash
# Installs what building and testing need from Debian packages, and checks that
# Go is new enough. Says nothing and takes no time when everything is there.
#
#   hack/deps.sh          for make test, lint, e2e, demo
#   hack/deps.sh bench    also what is measured beside our programs
#   hack/deps.sh ipvs     also what boots a kernel with ip_vs
#   hack/deps.sh browser  also Chromium, which tests look at pages with: 112 MB to load, 389 MB on the disk
#
# Go itself is a requirement, not installed here: see README.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One line per reason: command that shows it is there, package that brings it.
wanted='
gcc gcc
ld binutils
git git
curl curl
shellcheck shellcheck
zstd zstd
tar tar
ssh openssh-client
sshd openssh-server
debootstrap debootstrap
systemd-nspawn systemd-container
ip iproute2
nft nftables
iptables iptables
nsenter util-linux
flock util-linux
mkfs.ext4 e2fsprogs
ps procps
dpkg-deb dpkg
openssl openssl
skopeo skopeo
docker-registry docker-registry
sudo sudo
tcsh tcsh
fish fish
zsh zsh
'
if [[ ${1:-} == bench ]]; then
	wanted+='
rsync rsync
tc iproute2
'
fi
if [[ ${1:-} == ipvs ]]; then
	wanted+='
qemu-system-x86_64 qemu-system-x86
cpio cpio
'
fi

if [[ ${1:-} == browser ]]; then
	wanted+='
chromium chromium
fc-list fontconfig
'
fi

# go.mod says which Go it takes; an older one of 1.21 or later fetches it.
check_go() {
	local need have
	need=$(sed -n 's/^go //p' go.mod)
	if ! command -v go >/dev/null; then
		echo "deps: Go $need or newer is needed and there is none on PATH: install it from https://go.dev/dl or your distribution" >&2
		return 1
	fi
	have=$(go env GOVERSION)
	have=${have#go}
	if [[ $(printf '%s\n' "$need" "$have" | sort -V | head -n 1) != "$need" ]]; then
		echo "deps: Go $need or newer is needed, this is $have: install a newer one, or let it fetch one (GOTOOLCHAIN=auto)" >&2
		return 1
	fi
}

missing() {
	local command package
	while read -r command package; do
		[[ -z $command ]] || PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || echo "$package"
	done <<<"$wanted" | sort -u
	# cgo, which the race detector needs, wants the C library's headers.
	[[ -e /usr/include/stdlib.h ]] || echo libc6-dev
	[[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
	[[ $wanted != *chromium* || -d /usr/share/fonts/truetype/dejavu ]] || echo fonts-dejavu-core
}

install() {
	local apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
	if ! command -v apt-get >/dev/null; then
		echo "deps: missing $*: this is no Debian; install them by hand" >&2
		return 1
	fi
	if ((EUID != 0)); then
		echo "deps: missing $*: run as root, or: apt-get install $*" >&2
		return 1
	fi
	echo "deps: installing $*"
	# An old package list names versions the mirror no longer has.
	"${apt[@]}" install -y --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return
	"${apt[@]}" update </dev/null
	"${apt[@]}" install -y --no-install-recommends "$@" </dev/null >/dev/null
}

check_go
mapfile -t packages < <(missing)
((${#packages[@]} == 0)) || install "${packages[@]}"
