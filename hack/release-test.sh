#!/usr/bin/env bash
# Makes a release of the last commit twice, in two clones at paths of other lengths,
# and compares every byte. Then this machine's dpkg puts the package below a
# directory, and what lies there is asked for its version.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

(cd hack/release && export CGO_ENABLED=0 && go vet -trimpath . && go test -trimpath .)

commit=$(git rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for place in a somewhere/else/altogether; do
	git clone -q --shared --no-checkout . "$work/$place"
	git -C "$work/$place" checkout -q --detach "$commit"
	# Tags come along; what make is told by the one above it does not.
	(umask 0027 && cd "$work/$place" && env -u MAKEFLAGS -u MAKELEVEL -u SOURCE_DATE_EPOCH make release)
	mv "$work/$place/bin/release" "$work/release-${place%%/*}"
done
diff -r "$work/release-a" "$work/release-somewhere"
echo "release: $(find "$work/release-a" -type f | wc -l) files, $(du -sh "$work/release-a" | cut -f 1), the same twice"

root=$work/root
mkdir -p "$root"/var/lib/dpkg/{info,updates}
: >"$root/var/lib/dpkg/status"
deb=("$work"/release-a/sealbuild_*_"$(dpkg --print-architecture)".deb)
dpkg --root="$root" --log=/dev/null --force-not-root --force-bad-path -i "${deb[0]}" >/dev/null
for program in sealbuild sealinstall; do
	said=$("$root/usr/bin/$program" version -o json)
	echo "$said"
	[[ $said == *"\"commit\":\"$commit\""* ]] || {
		echo "release: $program of the package is not of commit $commit" >&2
		exit 1
	}
done

# It is copied to every host; docs/architecture.md says what it may be made of.
size=$(stat -c %s "$root/usr/bin/sealinstall") most=$((21 * 1024 * 1024))
((size <= most)) || {
	echo "release: sealinstall has $size bytes, more than $most: what a dependency brings along tells go tool nm -size -sort size" >&2
	exit 1
}

# The package alone makes a bundle for both architectures, with a whole bill: it brings the installers, and what finds packages.
((EUID == 0)) || {
	echo "release: building with the package needs root: not tried"
	exit
}
export SEALBUILD_ROOT=$work/store
mkdir "$work/app" && echo data >"$work/app/data"
cd "$work/app"
"$root/usr/bin/sealbuild" init -q
echo 'COPY data /' >>Kubefile
"$root/usr/bin/sealbuild" -q -t app:1.0 --platform linux/amd64,linux/arm64 --sbom-packages=always -o ../app.run .
"$root/usr/bin/sealbuild" inspect ../app.run | grep -F 'linux/amd64, linux/arm64'
