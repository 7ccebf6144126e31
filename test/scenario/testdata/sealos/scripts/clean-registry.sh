#!/bin/bash
# clean-registry.sh DATA CONFIG
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
remove_service registry
rm -f "$BIN_DIR/registry"
rm -rf "${1:-/var/lib/registry}" "${2:-/etc/registry}"
