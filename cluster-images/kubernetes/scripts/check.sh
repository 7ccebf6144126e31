#!/usr/bin/env bash
# Preflight of this image on one host. Changes nothing; names every problem at once. What holds for every image is not
# asked here again: the installer has judged it (other runtimes, kubelets, control groups, SELinux, common commands).
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

problems=0
problem() {
	printf '%s: problem: %s\n' "$script" "$*" >&2
	problems=$((problems + 1))
}

[[ $EUID -eq 0 ]] || problem "these scripts must run as root"
[[ -d /run/systemd/system ]] || problem "systemd does not run here; it is needed to keep kubelet and containerd running"
for tool in awk cut grep losetup mktemp modprobe sed sha256sum stat sysctl tac timeout umount; do
	have "$tool" || problem "the command $tool is missing; install the package that brings it"
done
minor=${SEALOS_SYS_KUBE_VERSION:-v1.99}
minor=${minor#v1.}
minor=${minor%%.*}
if [[ $minor =~ ^[0-9]+$ ]] && ((minor < 32)); then
	for tool in conntrack ip nsenter; do
		have "$tool" || problem "the command $tool is missing; kubeadm before 1.32 needs it"
	done
elif ! have ip; then
	warn "the command ip is missing: it takes links away when the cluster is removed"
fi

for pair in "criData=$criData" "registryData=$registryData" "registryConfig=$registryConfig"; do
	name=${pair%%=*} path=${pair#*=}
	(safe_dir "$name" "$path") || problems=$((problems + 1))
	while [[ -n $path && ! -e $path ]]; do path=${path%/*}; done
	[[ -z $path || -d $path ]] || problem "$name: $path is not a directory"
done

grep -qw overlay /proc/filesystems || modprobe -n overlay >/dev/null 2>&1 || problem "the kernel has no overlay filesystem, which containerd needs"

firewall_active() {
	systemctl is-active --quiet firewalld 2>/dev/null && printf 'firewalld\n'
	if systemctl is-active --quiet ufw 2>/dev/null && grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; then printf 'ufw\n'; fi
	return 0
}
case $firewallMode in
keep | stop) ;;
ask)
	for name in $(firewall_active); do
		problem "$name is active. Either open 6443, 2379-2380, 10250, 10257, 10259 and $registryPort/tcp, the ports of the network plugin and the pod network between the hosts and set -e firewallMode=keep, or set -e firewallMode=stop (it is started again when the cluster is removed)"
	done
	;;
*) problem "firewallMode is \"$firewallMode\"; it must be ask, keep or stop" ;;
esac
case $swapMode in off | keep) ;; *) problem "swapMode is \"$swapMode\"; it must be off or keep" ;; esac

((problems == 0)) || exit 1
say "nothing stands in the way"
