#!/usr/bin/env bash
# Makes a host ready for kubeadm: kernel settings, kubelet, and the images of Kubernetes itself, pinned.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=images.sh
source "$rootfs/scripts/images.sh"
# shellcheck source=host.sh
source "$rootfs/scripts/host.sh"

use_state kube

version=$("$rootfs/bin/kubelet" --version 2>/dev/null) || die "bin/kubelet does not run on this machine ($(uname -m)); was the image built for another architecture?"
version=${version##* }
if [[ -n ${SEALOS_SYS_KUBE_VERSION:-} && $version != "$SEALOS_SYS_KUBE_VERSION" ]]; then
	die "the image says Kubernetes $SEALOS_SYS_KUBE_VERSION but holds kubelet $version; build it with --build-arg KUBE_VERSION=$version"
fi

firewall_stop
load_modules
apply_sysctl "$rootfs/etc/sysctl.d/60-sealos-kubernetes.conf" /etc/sysctl.d/60-sealos-kubernetes.conf floor
apply_sysctl "$rootfs/etc/sysctl.d/99-zz-sealos-kubernetes.conf" /etc/sysctl.d/99-zz-sealos-kubernetes.conf exact
swap_off
rm -f -- "$state/restart"

# A kubelet that runs keeps its program until it is restarted, which during an upgrade is kubeadm's hour, not ours.
for path in "$rootfs"/bin/*; do
	if [[ -f $path ]]; then install_file 0755 "$path" "$BIN_DIR/${path##*/}"; fi
done
install_file 0644 "$rootfs/etc/kubelet.service" /etc/systemd/system/kubelet.service conf
install_file 0644 "$rootfs/etc/10-kubeadm.conf" /etc/systemd/system/kubelet.service.d/10-kubeadm.conf conf
make_dir 0755 /etc/kubernetes
# kubelet and pods with hostPath mounts would make these; noted here they are gone again when they are empty.
make_dir 0755 /usr/libexec/kubernetes/kubelet-plugins/volume/exec
make_dir 0755 /lib/modules
if [[ $SEALOS_SYS_RUN_MODE == *master* && ! -e /etc/kubernetes/audit-policy.yml ]]; then
	install_file 0600 "$rootfs/statics/audit-policy.yml" /etc/kubernetes/audit-policy.yml conf
fi
systemctl daemon-reload
systemctl enable kubelet >/dev/null 2>&1 || die "systemctl enable kubelet failed; see systemctl status kubelet"
rm -f -- "$state/restart"

pull_images
say "ready for kubeadm $version"
