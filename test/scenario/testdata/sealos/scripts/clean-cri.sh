#!/bin/bash
# clean-cri.sh DATA
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
remove_service containerd
for name in containerd containerd-shim-runc-v2 crictl ctr runc; do
	rm -f "$BIN_DIR/$name"
done
rm -rf "${1:-/var/lib/containerd}" /run/containerd /etc/containerd /etc/crictl.yaml
