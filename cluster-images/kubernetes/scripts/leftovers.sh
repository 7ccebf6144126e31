#!/usr/bin/env bash
# What pods leave behind on a host; sourced after lib.sh. Touches only what bears the names of Kubernetes, the CNI
# plugins, flannel or Calico.
# shellcheck disable=SC2154 # lib.sh sets what is used here

# descendants PID: all of them, children after parents.
descendants() {
	local child
	# grep finds nothing at a leaf, and processes end while it reads; neither is an error here.
	{ grep -slE "^PPid:[[:space:]]+$1\$" /proc/[0-9]*/status || true; } | cut -d/ -f3 | while read -r child; do
		printf '%s\n' "$child"
		descendants "$child"
	done
}
# shims: the shim processes of containerd's Kubernetes namespace.
shims() {
	local dir
	for dir in /proc/[0-9]*; do
		# In this order: a process that has ended is no error either.
		if tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -qE 'containerd-shim-runc-v2 .*-namespace k8s\.io '; then
			printf '%s\n' "${dir#/proc/}"
		fi
	done
}
# kill_shims: containers first, so that none outlives the shim that would have reaped it.
kill_shims() {
	local pid pids
	for pid in $(shims); do
		pids=$(descendants "$pid" | tac)
		# shellcheck disable=SC2086 # a list of numbers
		[[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
		kill -KILL "$pid" 2>/dev/null || true
	done
}
# kill_pods: through containerd while it runs, so that it forgets them and frees their mounts; then whatever is left.
kill_pods() {
	local id ids ctr=("$BIN_DIR/ctr" --address "${SEALOS_SYS_CRI_ENDPOINT#unix://}" --namespace k8s.io)
	if [[ -x $BIN_DIR/ctr ]] && systemctl is-active --quiet containerd; then
		ids=$(timeout 30 "${ctr[@]}" tasks ls -q 2>/dev/null) || ids=
		for id in $ids; do timeout 10 "${ctr[@]}" tasks kill -a -s SIGKILL "$id" >/dev/null 2>&1 || true; done
		for id in $ids; do timeout 10 "${ctr[@]}" tasks rm -f "$id" >/dev/null 2>&1 || true; done
		ids=$(timeout 30 "${ctr[@]}" containers ls -q 2>/dev/null) || ids=
		for id in $ids; do timeout 10 "${ctr[@]}" containers rm "$id" >/dev/null 2>&1 || true; done
	fi
	kill_shims
}

remove_netns() {
	local path
	for path in /run/netns/cni-*; do
		[[ -e $path ]] || continue
		umount -l -- "$path" 2>/dev/null || true
		rm -f -- "$path" || true
	done
}

remove_links() {
	local link address network
	if ! have ip; then
		warn "the command ip is missing; network links of pods stay until the next boot"
		return 0
	fi
	# kube-proxy's virtual services in IPVS mode are those whose addresses lie on its link.
	if have ipvsadm && ip link show kube-ipvs0 >/dev/null 2>&1; then
		for address in $(ip -o addr show dev kube-ipvs0 | awk '$3 ~ /^inet/ { sub(/\/.*/, "", $4); print $4 }'); do
			ipvsadm -Sn 2>/dev/null | awk -v a="$address" '$1 == "-A" && index($3, a ":") + index($3, "[" a "]:") == 1 { print $2, $3 }' |
				while read -r proto service; do ipvsadm -D "$proto" "$service" || true; done
		done
	fi
	# flannel's routes to other hosts' pods; with host-gw they lie on no link of its own.
	network=$(sed -n 's/^FLANNEL_NETWORK=//p' /run/flannel/subnet.env 2>/dev/null) || network=
	if [[ $network == */* ]]; then
		ip -4 route show root "$network" | awk '$2 == "via" { print $1 }' | while read -r address; do
			ip -4 route delete "$address" || warn "cannot delete the route to $address"
		done
	fi
	# A pod's end of Calico's is named cali and eleven digits of a digest.
	for link in cni0 flannel.1 flannel-v6.1 flannel-wg flannel-wg-v6 kube-ipvs0 nodelocaldns vxlan.calico vxlan-v6.calico \
		wireguard.cali wg-v6.cali $(ip -o link show type veth 2>/dev/null | sed -nE 's/^[0-9]+: (cali[0-9a-f]{11})@.*/\1/p'); do
		if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link" || warn "cannot delete the link $link"; fi
	done
}

# remove_packet_filter: the chains of Kubernetes, CNI, flannel and Calico and the rules that jump to them; one atomic
# change per table, in which no other rule takes part.
remove_packet_filter() {
	local tool table
	for tool in iptables ip6tables iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
		if ! have "$tool-save" || ! have "$tool-restore"; then continue; fi
		"$tool-save" 2>/dev/null | filter_removal >"$state_root/.rules" || continue
		if grep -q '^\*' "$state_root/.rules"; then
			"$tool-restore" --noflush <"$state_root/.rules" || warn "$tool: cannot remove the chains of Kubernetes"
		fi
	done
	rm -f -- "$state_root/.rules"
	if have nft; then
		for table in "ip kube-proxy" "ip6 kube-proxy" "ip flannel-ipv4" "ip6 flannel-ipv6" "inet cni_hostport"; do
			if nft list tables 2>/dev/null | grep -qx "table $table"; then
				# shellcheck disable=SC2086 # family and name are two words
				nft delete table $table || warn "cannot delete the packet filter table $table"
			fi
		done
	fi
}

# filter_removal: from what *-save prints to what *-restore --noflush takes.
filter_removal() {
	awk '
		function ours(chain) { return chain ~ /^(KUBE|CNI|FLANNEL|cali)-/ }
		function flush_table(  i) {
			if (n + d > 0) {
				print table
				for (i = 1; i <= d; i++) print rule[i]
				for (i = 1; i <= n; i++) print "-F " name[i]
				for (i = 1; i <= n; i++) print "-X " name[i]
				print "COMMIT"
			}
			n = d = 0
		}
		/^\*/ { table = $0; n = d = 0; next }
		/^:/ { c = substr($1, 2); if (ours(c)) name[++n] = c; next }
		/^-A / {
			if (ours($2)) next
			for (i = 3; i < NF; i++)
				if (($i == "-j" || $i == "-g") && ours($(i + 1))) {
					r = $0
					sub(/^-A/, "-D", r)
					rule[++d] = r
					break
				}
			next
		}
		/^COMMIT/ { flush_table() }
	'
}
