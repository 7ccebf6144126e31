#!/usr/bin/env bash
# Boots Debian's kernel, which has ip_vs, in an emulator, with test/ipvs/guest
# as its only process, and tells that program's verdict. The kernel is a
# package that is unpacked, not installed; it is cached outside the tree.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cache=${SEALBUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealbuild-test}
limit=${IPVS_TIMEOUT:-420} # seconds for the guest; it takes about 180 where ten others want each core
[[ $(uname -m) == x86_64 ]] || {
	echo "ipvs: the emulated machine is x86_64, this one is $(uname -m): skipped" >&2
	exit 0
}
# In this order: each needs only those before it. veth stands alone.
modules=(crc32c_generic libcrc32c nf_defrag_ipv4 nf_defrag_ipv6 nf_conntrack ip_vs ip_vs_rr veth)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# kernel leaves the path of the unpacked kernel package in $kernel.
kernel() {
	local package
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -nE 's/^ *Depends: (linux-image-[^ ]+)$/\1/p' | head -n 1)
	[[ -n $package ]] || {
		echo "ipvs: apt knows no linux-image-cloud-amd64: run apt-get update" >&2
		return 1
	}
	kernel=$cache/ipvs-$package
	[[ -d $kernel ]] && return
	echo "ipvs: fetching $package"
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package")
	dpkg-deb -x "$work/$package"_*.deb "$work/kernel"
	mkdir -p "$cache"
	# Whoever is first wins; the content is the same.
	mv -T "$work/kernel" "$kernel" 2>/dev/null || [[ -d $kernel ]]
}

initramfs() {
	local root=$work/root module file
	mkdir -p "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/run"
	CGO_ENABLED=0 go build -trimpath -o "$root/init" ./test/ipvs/guest
	for module in "${modules[@]}"; do
		# What is not a module of this kernel is part of it.
		file=$(find "$kernel" -name "$module.ko*" | head -n 1)
		case $file in
		'') continue ;;
		*.xz) xz -dc "$file" >"$root/modules/$module.ko" ;;
		*.zst) zstd -qdc "$file" >"$root/modules/$module.ko" ;;
		*) cp "$file" "$root/modules/$module.ko" ;;
		esac
		echo "$module.ko" >>"$root/modules/order"
	done
	(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"
}

kernel
initramfs
echo "ipvs: booting $(basename "$kernel")"
status=0
timeout --kill-after=10 "$limit" qemu-system-x86_64 -m 512 -smp 1 -nodefaults -no-reboot -display none -monitor none -net none \
	-kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs.gz" -append 'console=ttyS0 quiet panic=-1' \
	-serial stdio </dev/null 2>&1 | tee "$work/console" || status=$?
grep -q '^ipvs: PASS' "$work/console" || {
	echo "ipvs: FAILED (the emulator ended with $status, limit ${limit}s)"
	exit 1
}
