#!/usr/bin/env bash
# Runs in an upgrade on every host before the first is disturbed, in the new rootfs beside the one in use: pulls the images of
# Kubernetes itself and pins them. Nothing that runs is changed, and the images in use stay pinned.
# shellcheck source=lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=images.sh
source "$rootfs/scripts/images.sh"

[[ -d $state_root/kube ]] || die "init.sh has not run here; this host is not one to upgrade"
use_state kube
prepare_images
say "the images of Kubernetes ${SEALOS_SYS_KUBE_VERSION:-} are here"
