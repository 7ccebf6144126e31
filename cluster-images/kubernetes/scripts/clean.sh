#!/usr/bin/env bash
# Takes Kubernetes off this host again: pods, kubelet, its packet filter chains and links, and what init.sh changed.
# containerd is left to clean-cri.sh; /etc/kubernetes, etcd's data, kubelet's directory and control groups are the installer's,
# who knows what the site has put there.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=host.sh
source "$rootfs/scripts/host.sh"
# shellcheck source=leftovers.sh
source "$rootfs/scripts/leftovers.sh"

if [[ ! -d $state_root/kube ]]; then
	say "init.sh has not run here; nothing to do"
	exit 0
fi

systemctl disable --now kubelet >/dev/null 2>&1 || true
kill_pods
remove_netns
remove_links
remove_packet_filter
remove_tree /var/lib/cni /run/flannel /var/lib/calico /run/calico /var/log/calico
rm -f -- /etc/cni/net.d/10-flannel.conflist /etc/cni/net.d/10-calico.conflist /etc/cni/net.d/calico-kubeconfig

restore_sysctl
swap_restore
firewall_restore
uninstall kube
# What application images noted in the same way, helm for one; the rest has scripts of its own.
for dir in "$state_root"/*/; do
	name=$(basename -- "$dir")
	case $name in
	registry | cri | '*') ;;
	*) uninstall "$name" ;;
	esac
done
systemctl daemon-reload
say "Kubernetes is off this host"
