#!/bin/bash
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
cp -a ../etc/image-cri-shim.service /etc/systemd/system/
cp -a ../etc/image-cri-shim.yaml /etc/
cp -a ../etc/crictl.yaml /etc/
cp -a ../cri/image-cri-shim "$BIN_DIR/"
start_service image-cri-shim
