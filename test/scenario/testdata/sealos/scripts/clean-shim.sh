#!/bin/bash
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
remove_service image-cri-shim
rm -f "$BIN_DIR/image-cri-shim" /etc/image-cri-shim.yaml /var/run/image-cri-shim.sock
