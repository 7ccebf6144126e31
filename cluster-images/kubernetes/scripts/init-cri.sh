#!/usr/bin/env bash
# Installs and starts containerd with runc and the CNI plugins, pointed at the cluster's own registries.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=images.sh
source "$rootfs/scripts/images.sh"

safe_dir criData "$criData"
use_state cri

"$rootfs/cri/containerd" --version >/dev/null 2>&1 || die "cri/containerd does not run on this machine ($(uname -m)); was the image built for another architecture?"

make_dir 0711 "$criData"
make_dir 0755 /etc/containerd
make_dir 0755 /etc/cni/net.d tree
make_dir 0755 /opt/cni/bin tree
# The unit comes before the programs: it tells a run that goes on after an interruption whose they are.
install_file 0644 "$rootfs/etc/containerd.service" /etc/systemd/system/containerd.service conf
for path in "$rootfs"/cri/*; do
	if [[ -f $path ]]; then install_file 0755 "$path" "$BIN_DIR/${path##*/}"; fi
done
for path in "$rootfs"/cni/*; do
	if [[ -f $path && -x $path ]]; then install_file 0755 "$path" "/opt/cni/bin/${path##*/}"; fi
done

# An empty sandbox name stands for the pause image of this Kubernetes version.
pause=$(pause_image)
sed "s|^\( *sandbox = \)\"\"\$|\1\"$pause\"|" "$rootfs/etc/config.toml" | install_text 0644 /etc/containerd/config.toml
install_file 0644 "$rootfs/etc/crictl.yaml" /etc/crictl.yaml conf
restart=$changed

# These two are read at every pull; a change needs no restart.
make_dir 0755 "$certs_dir/_default"
pending=no
[[ -e $state/restart ]] && pending=yes
install_file 0644 "$rootfs/etc/registry_ca.crt" "$certs_dir/_default/ca.crt" conf
install_file 0600 "$rootfs/etc/hosts.toml" "$certs_dir/_default/hosts.toml" conf
if [[ $restart == no && $pending == no ]]; then rm -f -- "$state/restart"; fi

modprobe overlay >/dev/null 2>&1 || true
grep -qw overlay /proc/filesystems || die "the kernel has no overlay filesystem, which containerd needs"
start_unit containerd
wait_for 90 containerd ctr_k8s version
systemctl is-active --quiet containerd || unit_failed containerd
rm -f -- "$state/restart"
say "containerd answers on $SEALOS_SYS_CRI_ENDPOINT"
