#!/usr/bin/env bash
# Makes the real Kubernetes pieces the tests install: programs from published
# Go modules, tools from Debian packages, container images of both. The result
# is a directory outside the source tree, named by the digest of this recipe;
# its path is the last line of output. A second run finds it and is done.
#
#   make.sh [SET]          make what is missing, print the path
#   make.sh --path [SET]   only print the path, made or not
#
# SET is cluster (the default); before, the same of the minor version before, to
# upgrade from; or conformance: Kubernetes' own end-to-end tests, their runner and
# their images.
#
# SEALBUILD_CACHE  where it goes (default ${XDG_CACHE_HOME:-~/.cache}/sealbuild-test)
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2034,SC2154 # variables named after parts are set by part and read in parts.sh
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SEALBUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealbuild-test}
arch=$(go env GOHOSTARCH)
# shellcheck source=versions.env
. "$here/versions.env"
# shellcheck source=parts.sh
. "$here/parts.sh"

log() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

need() {
	local tool missing=()
	for tool in "$@"; do
		command -v "$tool" >/dev/null || missing+=("$tool")
	done
	if ((${#missing[@]})); then
		log "missing tools: ${missing[*]} (Debian: apt-get install golang-go apt dpkg util-linux)"
		exit 2
	fi
}

# key_of prints the digest of what decides a part's content: the function that
# makes it, the versions, the toolchain, the source directories named, and for
# images the parts they are made of.
key_of() {
	local function=$1 source
	shift
	{
		declare -f "$function" go_build
		printf '%s\n' "$toolchain" "$arch" "$versions"
		[[ $function != make_*images ]] || printf '%s' "$keys" "$compressor"
		[[ $function != make_*debian ]] || declare -f packages
		for source in "$@"; do
			(cd "$here" && find "$source" -type f ! -name '*_test.go' -print0 | sort -z | xargs -0 sha256sum)
		done
	} | sha256sum | cut -c1-16
}

# part NAME DIR… makes one part unless it is there, and leaves its directory in
# the variable of that name. With only_key set it makes nothing.
part() {
	local name=$1 temporary started=$SECONDS status=0 function=make_${1//-/_} made
	shift
	made=$cache/parts/$name-$(key_of "$function" "$@")
	keys+=${made##*/}$'\n'
	printf -v "$name" '%s' "$made"
	[[ ! -d $made && -z $only_key ]] || return 0
	log "$name: started"
	temporary=$(mktemp -d "$cache/parts/.$name.XXXXXX")
	# errexit must hold inside the function, so it can't stand in a condition.
	set +e
	(
		set -e
		"$function" "$temporary"
	)
	status=$?
	set -e
	if ((status)); then
		rm -rf "$temporary"
		log "$name: failed"
		exit 1
	fi
	chmod 0755 "$temporary"
	sync -f "$temporary"
	mv -T "$temporary" "$made"
	log "$name: made in $((SECONDS - started)) s, $(du -sh "$made" | cut -f1)"
}

# versioned NAME DIR… is part for one that the set before has in another version:
# with the versions of that set, and the sources of before/NAME where there are some.
versioned() {
	local versions=$set_versions here=$here
	[[ $set != before || ! -d $here/before/$1 ]] || here+=/before
	part "$@"
}

# all_parts goes through every part of the set with the sources it depends on.
all_parts() {
	keys=
	if [[ $set == conformance ]]; then
		part e2e e2e keepenv
		part e2e_debian
		part e2e_images mkimage
		return
	fi
	part debian
	versioned programs hello pause
	versioned etcd etcd
	part cni cni flannel-cni
	versioned containerd containerd
	part flannel flannel
	versioned coredns coredns
	versioned kubernetes kubernetes
	versioned images mkimage
	part helm helm
	part crictl crictl
	part sealos sealos
}

# assemble links the parts into the tree that callers see.
assemble() {
	local versions=$set_versions
	if [[ $set == conformance ]]; then assemble_conformance "$1"; else assemble_cluster "$1"; fi
}

assemble_conformance() {
	local out=$1 name
	mkdir "$out/e2e"
	for name in e2e.test ginkgo; do
		ln "$e2e/$name" "$out/e2e/$name"
	done
	cp -al "$e2e_images/images" "$out/images"
	cp "$e2e_debian/packages.txt" "$out/packages.txt"
}

assemble_cluster() {
	local out=$1 name
	mkdir "$out/bin" "$out/cri" "$out/cni" "$out/helm" "$out/sealos"
	for name in kubeadm kubelet kubectl; do
		ln "$kubernetes/$name" "$out/bin/$name"
	done
	ln "$containerd"/* "$debian/root/usr/sbin/runc" "$out/cri/"
	ln "$cni/plugins"/* "$out/cni/"
	ln "$helm/helm" "$out/helm/helm"
	ln "$crictl/crictl" "$sealos"/* "$out/sealos/"
	cp -al "$images" "$out/images"
	cp "$debian/packages.txt" "$out/packages.txt"
	printf '%s' "$versions" >"$out/versions.env"
}

main() {
	local result temporary tree path_only=
	if [[ ${1:-} == --path ]]; then
		path_only=1
		shift
	fi
	set=${1:-cluster}
	case $set in
	cluster) tree=upstream ;;
	before | conformance) tree=$set ;;
	*)
		log "there is no set $set: cluster, before, conformance"
		exit 2
		;;
	esac
	need go dpkg-deb apt-get sha256sum flock
	toolchain=$(go env GOVERSION)
	versions=$(grep -E '^[A-Z_]+=' "$here/versions.env")
	set_versions=$versions
	if [[ $set == before ]]; then
		# shellcheck source=before.env
		. "$here/before.env"
		set_versions+=$'\n'$(grep -E '^[A-Z_]+=' "$here/before.env")
	fi
	compressor=$(grep 'klauspost/compress ' "$here/../../go.mod")
	# The first pass only computes names, so that a finished tree is found at once.
	only_key=1
	all_parts
	result=$cache/$tree-$({
		printf '%s' "$keys"
		declare -f assemble_cluster assemble_conformance
	} | sha256sum | cut -c1-16)
	if [[ ! -d $result && -z $path_only ]]; then
		mkdir -p "$cache/parts"
		exec 9>"$cache/.lock"
		flock 9
		rm -rf "$cache"/parts/.[!.]* "$cache/.$tree".*
		only_key=
		all_parts
		if [[ ! -d $result ]]; then
			temporary=$(mktemp -d "$cache/.$tree.XXXXXX")
			assemble "$temporary"
			chmod 0755 "$temporary"
			sync -f "$temporary"
			mv -T "$temporary" "$result"
		fi
		ln -sfn "${result##*/}" "$cache/$tree-current"
		log "ready: $(du -sh "$result" | cut -f1)"
	fi
	printf '%s\n' "$result"
}

main "$@"
exit # so that an edited script does not go on in the middle of a line
