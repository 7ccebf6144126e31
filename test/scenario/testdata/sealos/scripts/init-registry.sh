#!/bin/bash
# init-registry.sh DATA CONFIG: the registry of this host.
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
data=${1:-/var/lib/registry}
config=${2:-/etc/registry}

mkdir -p "$data" "$config"
cp -au ../etc/registry.service /etc/systemd/system/
cp -au ../cri/registry "$BIN_DIR/"
cp -a ../etc/registry_config.yml "$config/"
cp -a ../etc/registry_htpasswd "$config/"
if command -v getenforce; then
	sed -i 's/^SELINUX=enforcing/SELINUX=disabled/' /etc/selinux/config
	setenforce 0
fi
start_service registry
