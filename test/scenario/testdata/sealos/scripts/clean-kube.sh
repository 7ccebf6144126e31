#!/bin/bash
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
remove_service kubelet
for name in kubeadm kubectl kubelet kubelet-pre-start.sh lsof; do
	rm -f "$BIN_DIR/$name"
done
sed -i '/ # sealos$/d' /etc/sysctl.conf
sed -i '/^### sealos begin ###$/,/^### sealos end ###$/d' /etc/security/limits.conf
rm -rf /var/lib/kubelet
