#!/usr/bin/env bash
# Fetches what the Kubefile copies. Run it on a connected machine; see --help.
# shellcheck source=../fetch-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../fetch-lib.sh"

version=v1.36.3
usage() {
	cat <<-'TEXT'
		Usage: ./fetch.sh [--arch amd64|arm64] [--version v1.36.3] [--checksums FILE]
		       ./fetch.sh --from DIR [--arch amd64|arm64] [--version v1.36.3]

		Fetches kubeadm, kubelet, kubectl, containerd, runc, the CNI plugins and crictl into files/ARCH/ and writes
		images/shim/DefaultImageList. Every file is checked against ../checksums.txt. An interrupted run is continued
		by running it again. Run it once per architecture for an image of several platforms.

		--from DIR takes the programs from DIR/bin/{kubeadm,kubelet,kubectl}, DIR/cri/{containerd,
		containerd-shim-runc-v2,ctr,runc} and DIR/cni/* instead, and dials nothing. DIR/bin/{crictl,conntrack} are
		taken too where they are.
	TEXT
}
options "$@"
[[ $version =~ ^v1\.([0-9]+)\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || die "$version is not a Kubernetes version such as v1.36.3"
((BASH_REMATCH[1] >= 28)) || die "$version is older than v1.28, the oldest this image is for"
minor=v1.${BASH_REMATCH[1]}

mkdir -p -- "$here/files"
new=$(mktemp -d "$here/files/.new.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
chmod 0755 -- "$new"
mkdir -- "$new/bin" "$new/cri" "$new/cni"

if [[ -n $from ]]; then
	for name in bin/kubeadm bin/kubelet bin/kubectl cri/containerd cri/containerd-shim-runc-v2 cri/ctr cri/runc; do
		[[ -f $from/$name ]] || die "$from/$name is missing"
		put "$from/$name" "$new/$name"
	done
	for name in crictl conntrack; do
		if [[ -f $from/bin/$name ]]; then put "$from/bin/$name" "$new/bin/$name"; fi
	done
	for path in "$from"/cni/*; do
		if [[ -f $path ]]; then put "$path" "$new/cni/${path##*/}"; fi
	done
else
	row=$(awk -v m="$minor" '$1 == m { print $2, $3, $4, $5 }' "$here/versions.txt")
	[[ -n $row ]] || die "versions.txt says nothing about $minor; add a line for it"
	read -r containerd runc cni crictl <<<"$row"
	for name in kubeadm kubelet kubectl; do
		file=$(pinned "$name" "$version")
		put "$file" "$new/bin/$name"
	done
	file=$(pinned runc "$runc")
	put "$file" "$new/cri/runc"
	file=$(pinned containerd "$containerd")
	tar -xzf "$file" -C "$new/cri" --strip-components=1 --no-same-owner bin/containerd bin/containerd-shim-runc-v2 bin/ctr
	file=$(pinned cni "$cni")
	tar -xzf "$file" -C "$new/cni" --no-same-owner
	rm -f -- "$new/cni/LICENSE" "$new/cni/README.md"
	file=$(pinned crictl "$crictl")
	tar -xzf "$file" -C "$new/bin" --no-same-owner crictl
fi
for name in bridge host-local loopback portmap; do
	[[ -f $new/cni/$name ]] || die "the CNI plugin $name is missing"
done
chmod 0755 -- "$new"/*/*

# What runs here can be asked; what is for another architecture is taken on trust of its checksum.
list=
if [[ $arch == "$(host_arch)" ]]; then
	is=$("$new/bin/kubelet" --version) || die "kubelet does not run on this machine"
	[[ ${is##* } == "$version" ]] || die "kubelet is ${is##* }, not $version"
	list=$("$new/bin/kubeadm" config images list --kubernetes-version "$version") || die "kubeadm does not list its images"
else
	row=$(awk -v v="$version" '$1 == v { print $2, $3, $4 }' "$here/versions.txt")
	if [[ -n $row ]]; then
		read -r coredns pause etcd <<<"$row"
		for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
			list+=registry.k8s.io/$name:$version$'\n'
		done
		list+=registry.k8s.io/coredns/coredns:$coredns$'\n'registry.k8s.io/pause:$pause$'\n'registry.k8s.io/etcd:$etcd
	elif grep -qs "/kube-apiserver:$version\$" "$here/images/shim/DefaultImageList"; then
		list=$(cat -- "$here/images/shim/DefaultImageList")
	else
		die "which images $version needs is not known here: fetch $(host_arch) first, or add a line to versions.txt"
	fi
fi

swap_in "$new" "$here/files/$arch"
mkdir -p -- "$here/images/shim"
printf '%s\n' "$list" >"$here/images/shim/.new"
mv -f -- "$here/images/shim/.new" "$here/images/shim/DefaultImageList"
say "files/$arch and images/shim/DefaultImageList are ready; build with"
say "  sealbuild -t kubernetes:$version --platform linux/$arch --build-arg KUBE_VERSION=$version $here"
