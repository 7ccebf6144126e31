#!/bin/bash
# registryDomain, registryPort and sandboxImage come with the environment of the image.
# shellcheck disable=SC2154
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh

for name in firewalld ufw; do
	systemctl is-active --quiet "$name" && systemctl disable --now "$name"
done
while read -r line; do
	echo "$line # sealos" >>/etc/sysctl.conf
done <../etc/sysctl.d/sealos-k8s.conf
{
	echo '### sealos begin ###'
	cat ../etc/limits.d/sealos-k8s.conf
	echo '### sealos end ###'
} >>/etc/security/limits.conf
cp -a kubelet-pre-start.sh "$BIN_DIR/"
"$BIN_DIR/kubelet-pre-start.sh"

cp -a ../bin/* "$BIN_DIR/"
crictl pull "$registryDomain:$registryPort/$sandboxImage" || error "the registry does not give $sandboxImage"
mkdir -p /etc/systemd/system/kubelet.service.d
cp -a ../etc/kubelet.service /etc/systemd/system/
cp -a ../etc/systemd/system/kubelet.service.d/10-kubeadm.conf /etc/systemd/system/kubelet.service.d/
systemctl daemon-reload
systemctl enable kubelet
