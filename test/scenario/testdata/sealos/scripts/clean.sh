#!/bin/bash
cd "$(dirname "$0")" || exit 1
# shellcheck source-path=SCRIPTDIR source=common.sh
source common.sh
bash clean-kube.sh
bash clean-shim.sh
