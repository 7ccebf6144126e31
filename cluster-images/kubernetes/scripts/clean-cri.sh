#!/usr/bin/env bash
# Removes containerd, what it stored, and what init-cri.sh installed.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=leftovers.sh
source "$rootfs/scripts/leftovers.sh"

safe_dir criData "$criData"
if [[ ! -d $state_root/cri ]]; then
	say "init-cri.sh has not run here; nothing to do"
	exit 0
fi

kill_pods
systemctl disable --now containerd >/dev/null 2>&1 || true
kill_shims
remove_netns

# The directory may be a disk of its own, or hold other things: only what containerd keeps there goes.
remove_tree "$criData"/io.containerd.* "$criData"/tmpmounts
remove_tree /run/containerd
# containerd leaves its NRI socket behind. One that somebody still listens on is another runtime's.
grep -qE ' (/var)?/run/nri/nri\.sock$' /proc/net/unix || rm -f -- /run/nri/nri.sock
rmdir --ignore-fail-on-non-empty -- /run/nri 2>/dev/null || true
rmdir --ignore-fail-on-non-empty -- /run/netns 2>/dev/null || true
uninstall cri
systemctl daemon-reload
systemctl reset-failed containerd >/dev/null 2>&1 || true
say "containerd is off this host"
