#!/usr/bin/env bash
# Fetches what the Kubefile copies. Run it on a connected machine; see --help.
# shellcheck source=../fetch-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../fetch-lib.sh"

version=v3.18.4
usage() {
	cat <<-'TEXT'
		Usage: ./fetch.sh [--arch amd64|arm64] [--version v3.18.4] [--checksums FILE]
		       ./fetch.sh --from DIR [--arch amd64|arm64]

		Fetches helm into files/ARCH/opt/helm, checked against ../checksums.txt. --from DIR takes DIR/helm/helm instead
		and dials nothing.
	TEXT
}
options "$@"

mkdir -p -- "$here/files"
new=$(mktemp -d "$here/files/.new.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
chmod 0755 -- "$new"
mkdir -- "$new/opt"
if [[ -n $from ]]; then
	[[ -f $from/helm/helm ]] || die "$from/helm/helm is missing"
	put "$from/helm/helm" "$new/opt/helm"
else
	file=$(pinned helm "$version")
	tar -xzf "$file" -C "$new/opt" --strip-components=1 --no-same-owner "linux-$arch/helm"
	chmod 0755 -- "$new/opt/helm"
fi
if [[ $arch == "$(host_arch)" ]]; then
	"$new/opt/helm" version >/dev/null || die "helm does not run on this machine"
fi
swap_in "$new" "$here/files/$arch"
say "files/$arch/opt/helm is ready; build with"
say "  sealbuild -t helm:$version --platform linux/$arch $here"
