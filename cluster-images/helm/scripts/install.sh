#!/usr/bin/env bash
# Puts helm into BIN_DIR with one rename; does nothing when the same program is there already.
set -euo pipefail
export LC_ALL=C

src=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)/opt/helm
dst=${BIN_DIR:-/usr/bin}/helm
sha() { sha256sum <"$1" | cut -d' ' -f1; }

"$src" version >/dev/null || {
	printf 'helm: error: opt/helm does not run on this machine (%s); was the image built for another architecture?\n' "$(uname -m)" >&2
	exit 1
}
if [[ -f $dst && $(sha "$dst") == "$(sha "$src")" ]]; then
	printf 'helm: %s is there already\n' "$dst"
	exit 0
fi
# Noted before it is done, as the kubernetes image notes its own files: its clean script takes away what stands here, and
# brings back what was there before.
state=/var/lib/sealos/installed/helm
mkdir -p -- "$state"
if [[ -e $dst ]] && ! grep -qs -- " $dst\$" "$state/files"; then
	mkdir -p -- "$state/backup${dst%/*}"
	cp -a -- "$dst" "$state/backup$dst"
fi
printf 'bin %s %s\n' "$(sha "$src")" "$dst" >"$state/files"
sync -- "$state/files"

tmp=$(mktemp -- "${dst%/*}/.helm.XXXXXX")
trap 'rm -f -- "$tmp"' EXIT
cat -- "$src" >"$tmp"
chmod 0755 -- "$tmp"
sync -- "$tmp"
mv -f -- "$tmp" "$dst"
printf 'helm: installed %s\n' "$dst"
