#!/usr/bin/env bash
# Runs every fuzz target for a bounded time. A crash leaves its input below the
# package's testdata/fuzz, where it belongs in the next commit.
#
#   FUZZTIME  time for each target (default 20s)
#   FUZZ      only targets whose name holds this
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tags=${TAGS:?the build tags; run make fuzz}

found=0 failed=()
while IFS=: read -r file target; do
	[[ $target == *"${FUZZ:-}"* ]] || continue
	found=$((found + 1))
	package=./$(dirname "$file")
	echo "fuzz: $package $target for ${FUZZTIME:=20s}"
	go test -tags "$tags" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$package" || failed+=("$package $target")
done < <(git ls-files --cached --others --exclude-standard -- '*_test.go' |
	xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed -E 's/:func /:/' | sort)

((found)) || {
	echo "fuzz: no target is called like ${FUZZ:-anything}" >&2
	exit 1
}
((${#failed[@]} == 0)) || {
	printf 'fuzz: found a failure: %s\n' "${failed[@]}" >&2
	exit 1
}
