#!/bin/bash
# check.sh DATA: what must not be there before.
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
data=${1:-/var/lib/registry}

mkdir -p "$BIN_DIR"
cp -au ../opt/lsof "$BIN_DIR/"
for port in {10249..10259} {5050..5054}; do
	if "$BIN_DIR/lsof" -i ":$port" | grep -q LISTEN; then
		error "port $port is taken"
	fi
done
command -v docker && error "docker is on this host"
[ -S /var/run/docker.sock ] && error "docker runs on this host"
[ -f "$data" ] && error "$data is a file"
if ! command -v apparmor_parser; then
	sed -i 's/disable_apparmor = false/disable_apparmor = true/' ../etc/config.toml
fi
info "checked"
