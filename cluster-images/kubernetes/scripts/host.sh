#!/usr/bin/env bash
# What a host's kernel and settings need for Kubernetes, and the way back; sourced after lib.sh.
# shellcheck disable=SC2154 # lib.sh sets what is used here

modules_file=/etc/modules-load.d/sealos-kubernetes.conf

# load_modules: those the kernel has are loaded now and at boot. What is built in, or loaded on a host that has no module
# directory (a container), counts as there.
load_modules() {
	local name got=() without=()
	for name in overlay br_netfilter nf_conntrack ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh; do
		if modprobe "$name" >/dev/null 2>&1; then
			got+=("$name")
		elif [[ ! -d /sys/module/$name ]]; then
			case $name in
			overlay) grep -qw overlay /proc/filesystems || die "the kernel has no overlay filesystem" ;;
			br_netfilter) [[ -d /proc/sys/net/bridge ]] || warn "the kernel has no br_netfilter; pod traffic over a bridge will not pass kube-proxy's rules" ;;
			nf_conntrack) [[ -d /proc/sys/net/netfilter ]] || warn "the kernel has no nf_conntrack; services will not work" ;;
			*) without+=("$name") ;;
			esac
		fi
	done
	((${#without[@]} == 0)) || say "the kernel lacks ${without[*]}; kube-proxy and the API server's virtual address do without IPVS"
	{
		printf '# Modules Kubernetes uses, as far as this kernel has them.\n'
		((${#got[@]} == 0)) || printf '%s\n' "${got[@]}"
	} | install_text 0644 "$modules_file"
}

# set_sysctl KEY VALUE: now; the value it had is noted once, for the way back.
set_sysctl() {
	local key=$1 want=$2 now file=/proc/sys/${1//./\/}
	now=$(<"$file")
	[[ $now != "$want" ]] || return 0
	grep -qs "^$key = " "$state/sysctl" || printf '%s = %s\n' "$key" "$now" >>"$state/sysctl"
	sysctl -q -w "$key=$want" >/dev/null 2>&1
}

# apply_sysctl SOURCE TARGET floor|exact: settings this kernel lacks are left out of the installed file. With "floor" a
# host that already has more keeps it.
apply_sysctl() {
	local src=$1 dst=$2 how=$3 line key want now kept=()
	while IFS= read -r line; do
		[[ $line == *=* && $line != '#'* ]] || continue
		key=${line%%=*} want=${line#*=}
		key=${key//[[:space:]]/} want=${want//[[:space:]]/}
		[[ -e /proc/sys/${key//./\/} ]] || continue
		now=$(<"/proc/sys/${key//./\/}")
		if [[ $how == floor ]] && ! grep -qs "^$key = " "$state/sysctl"; then
			# Fewer digits is less; the numbers may be larger than the shell can count.
			if ((${#now} > ${#want})) || [[ ${#now} == "${#want}" && ! $now < $want ]]; then continue; fi
		fi
		if set_sysctl "$key" "$want"; then
			kept+=("$key = $want")
		elif [[ $key == net.ipv4.ip_forward ]]; then
			die "cannot set $key=$want, without which pods reach nothing"
		else
			warn "cannot set $key=$want here; it stays $now"
		fi
	done <"$src"
	{
		printf '# Written by the cluster image "kubernetes".\n'
		((${#kept[@]} == 0)) || printf '%s\n' "${kept[@]}"
	} | install_text 0644 "$dst"
}

restore_sysctl() {
	local file=$state_root/kube/sysctl line key
	[[ -f $file ]] || return 0
	while IFS= read -r line; do
		key=${line%% = *}
		sysctl -q -w "$key=${line#* = }" >/dev/null 2>&1 || warn "cannot set $key back to ${line#* = }"
	done <"$file"
}

# rewrite_fstab SED-EXPRESSION: atomically; owner and mode stay, nothing is written when nothing changes.
rewrite_fstab() {
	local tmp
	[[ -f /etc/fstab ]] || return 0
	tmp=$(mktemp /etc/.fstab.XXXXXX)
	cp -p -- /etc/fstab "$tmp"
	sed -E "$1" /etc/fstab >"$tmp"
	if [[ $(sha "$tmp") == "$(sha /etc/fstab)" ]]; then
		rm -f -- "$tmp"
		return 0
	fi
	sync -- "$tmp"
	mv -f -- "$tmp" "$(readlink -f /etc/fstab)"
}
swap_on() { [[ -r /proc/swaps && $(wc -l </proc/swaps) -gt 1 ]]; }
swap_off() {
	[[ $swapMode == off ]] || return 0
	rewrite_fstab 's/^([[:space:]]*[^#[:space:]]+[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$))/# sealos-swap: \1/'
	if swap_on; then
		: >"$state/swap"
		swapoff -a || die "swapoff failed: is there enough free memory? Or keep swap with -e swapMode=keep and kubelet's failSwapOn: false"
		say "swap is off"
	fi
}
swap_restore() {
	rm -f -- /etc/.fstab.?????? # of a script that was killed
	rewrite_fstab 's/^# sealos-swap: //'
	if [[ -e $state_root/kube/swap ]]; then swapon -a || warn "swapon failed"; fi
}

# A firewall is stopped only when the operator said so, and started again on the way back.
firewall_stop() {
	local unit
	[[ $firewallMode == stop ]] || return 0
	for unit in firewalld ufw; do
		if systemctl is-enabled --quiet "$unit" 2>/dev/null || systemctl is-active --quiet "$unit" 2>/dev/null; then
			grep -qsx "$unit" "$state/firewall" || printf '%s\n' "$unit" >>"$state/firewall"
			systemctl disable --now "$unit" >/dev/null 2>&1 || die "cannot stop $unit"
			say "stopped $unit"
		fi
	done
}
firewall_restore() {
	local unit
	[[ -f $state_root/kube/firewall ]] || return 0
	while read -r unit; do
		systemctl enable --now "$unit" >/dev/null 2>&1 || warn "cannot start $unit again"
	done <"$state_root/kube/firewall"
}
