#!/usr/bin/env bash
# Fetches what the Kubefile copies. Run it on a connected machine; see --help.
# shellcheck source=../fetch-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../fetch-lib.sh"

version=v1.36.3
usage() {
	cat <<-'TEXT'
		Usage: ./fetch.sh [--arch amd64|arm64] [--version v1.36.3] [--checksums FILE]
		       ./fetch.sh --from DIR [--arch amd64|arm64]

		Fetches e2e.test and ginkgo of a Kubernetes release (kubernetes-test-linux-ARCH.tar.gz) into files/ARCH/opt/e2e,
		checked against ../checksums.txt. --from DIR takes DIR/e2e/{e2e.test,ginkgo} instead and dials nothing;
		test/upstream/make.sh conformance makes such a directory.
	TEXT
}
options "$@"

mkdir -p -- "$here/files"
new=$(mktemp -d "$here/files/.new.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
chmod 0755 -- "$new"
mkdir -p -- "$new/opt/e2e"
if [[ -n $from ]]; then
	for name in e2e.test ginkgo; do
		[[ -f $from/e2e/$name ]] || die "$from/e2e/$name is missing"
		put "$from/e2e/$name" "$new/opt/e2e/$name"
	done
else
	file=$(pinned kubernetes-test "$version")
	tar -xzf "$file" -C "$new/opt/e2e" --strip-components=3 --no-same-owner kubernetes/test/bin/e2e.test kubernetes/test/bin/ginkgo
	chmod 0755 -- "$new"/opt/e2e/*
fi
if [[ $arch == "$(host_arch)" ]]; then
	"$new/opt/e2e/ginkgo" version >/dev/null || die "ginkgo does not run on this machine"
fi
swap_in "$new" "$here/files/$arch"
say "files/$arch/opt/e2e is ready; build with"
say "  sealbuild -t e2e:$version --platform linux/$arch $here"
