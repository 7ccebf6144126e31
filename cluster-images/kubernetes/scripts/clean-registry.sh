#!/usr/bin/env bash
# Stops the registry of this host and removes its images, unless somebody else's were there first.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

safe_dir registryData "$registryData"
safe_dir registryConfig "$registryConfig"
# The images come before init-registry.sh: an installation that was cut off in between left them with the mark only.
if [[ ! -d $state_root/registry && ! -f $registryData/.sealos-registry ]]; then
	say "init-registry.sh has not run here; nothing to do"
	exit 0
fi

if [[ -d $state_root/registry ]]; then systemctl disable --now registry >/dev/null 2>&1 || true; fi
# What an interrupted transfer left; no registry keeps anything there.
remove_tree "$registryData/.sealbuild"
rm -f -- "$registryData"/.sealinstall-.sealos-registry.*
if [[ -f $registryData/.sealos-registry ]]; then
	remove_tree "$registryData/docker/registry/v2"
	# Empty directories only; a disk that is mounted there stays, and so does a link, or what was there before.
	rmdir -- "$registryData/docker/registry" "$registryData/docker" 2>/dev/null || true
	before=$(grep -c 'was there before' "$registryData/.sealos-registry") || true
	rm -f -- "$registryData/.sealos-registry"
	[[ $before != 0 ]] || rmdir -- "$registryData" 2>/dev/null || true
else
	warn "$registryData was not made by this cluster; it stays"
fi
uninstall registry
systemctl daemon-reload
systemctl reset-failed registry >/dev/null 2>&1 || true
say "the registry is off this host"
