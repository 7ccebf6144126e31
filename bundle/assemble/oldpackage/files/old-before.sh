#!/usr/bin/env bash
# Runs before shell/init.sh of the older package. What init.sh is going to put on this host is noted, so that cleaning takes
# it away and brings back what was there; kernel settings are made, with notes of what they were.
# shellcheck source-path=SCRIPTDIR source=../../../../cluster-images/kubernetes/scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=../../../../cluster-images/kubernetes/scripts/host.sh
source "$rootfs/scripts/host.sh"

safe_dir criData "$criData"

# expect COMPONENT: the files of the list that belong to it.
expect() {
	local component path
	while read -r component path; do
		if [[ $component != "$1" ]] || recorded "$path"; then continue; fi
		make_dir 0755 "${path%/*}"
		keep_former "$path"
		record conf "$path"
	done <"$rootfs/etc/old-package-files"
}

use_state cri
make_dir 0711 "$criData"
make_dir 0755 /etc/containerd tree
make_dir 0755 /etc/cni/net.d tree
make_dir 0755 /opt/cni/bin tree
make_dir 0711 /opt/containerd tree # containerd itself makes it
expect cri

use_state kube
firewall_stop
load_modules
apply_sysctl "$rootfs/etc/sysctl.d/60-sealos-kubernetes.conf" /etc/sysctl.d/60-sealos-kubernetes.conf floor
apply_sysctl "$rootfs/etc/sysctl.d/99-zz-sealos-kubernetes.conf" /etc/sysctl.d/99-zz-sealos-kubernetes.conf exact
swap_off
# kubelet and pods with hostPath mounts would make these; noted here they are gone again when they are empty.
make_dir 0755 /etc/kubernetes
make_dir 0755 /usr/libexec/kubernetes/kubelet-plugins/volume/exec
make_dir 0755 /lib/modules
expect kube
say "ready for shell/init.sh of the package"
