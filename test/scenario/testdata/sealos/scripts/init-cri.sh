#!/bin/bash
# init-cri.sh DOMAIN PORT: the container runtime.
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
bash init-containerd.sh "${1:-sealos.hub}" "${2:-5000}" || error "no container runtime"
