#!/bin/bash
# init-containerd.sh DOMAIN PORT
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
hosts=/etc/containerd/certs.d/$1:$2

tar --strip-components=2 -xzf ../cri/cri-containerd.tar.gz -C "$BIN_DIR" usr/bin
tar -xzf ../cri/cri-containerd.tar.gz -C / opt/cni/bin
mkdir -p "$hosts"
cp ../etc/hosts.toml "$hosts/"
cp ../etc/config.toml /etc/containerd/
cp ../etc/containerd.service /etc/systemd/system/
start_service containerd
