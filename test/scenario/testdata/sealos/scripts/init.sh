#!/bin/bash
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
bash init-shim.sh || error "no image-cri-shim"
bash init-kube.sh || error "no kubelet"
