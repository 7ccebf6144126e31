#!/usr/bin/env bash
# Puts kube-conformance into BIN_DIR with one rename; does nothing when it is there already.
set -euo pipefail
export LC_ALL=C

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
dst=${BIN_DIR:-/usr/bin}/kube-conformance

"$here/opt/e2e/ginkgo" version >/dev/null || {
	printf 'e2e: error: opt/e2e/ginkgo does not run on this machine (%s); was the image built for another architecture?\n' "$(uname -m)" >&2
	exit 1
}
tmp=$(mktemp -- "${dst%/*}/.kube-conformance.XXXXXX")
trap 'rm -f -- "$tmp"' EXIT
printf '#!/bin/sh\nexec bash %q "$@"\n' "$here/scripts/conformance.sh" >"$tmp"
if cmp -s -- "$tmp" "$dst"; then
	printf 'e2e: %s is there already\n' "$dst"
	exit 0
fi
# Noted before it is done, as the kubernetes image notes its own files: its clean script takes away what stands here.
state=${STATE_ROOT:-/var/lib/sealos/installed}/e2e
if [[ -e $dst && ! -e $state/files ]]; then
	printf 'e2e: error: %s is there and not from this image; remove or rename it, or set BIN_DIR\n' "$dst" >&2
	exit 1
fi
mkdir -p -- "$state"
printf 'bin %s %s\n' "$(sha256sum <"$tmp" | cut -d' ' -f1)" "$dst" >"$state/files"
sync -- "$state/files"
chmod 0755 -- "$tmp"
sync -- "$tmp"
mv -f -- "$tmp" "$dst"
printf 'e2e: installed %s; kube-conformance --help tells how the tests are run\n' "$dst"
