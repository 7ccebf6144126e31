#!/usr/bin/env bash
# Every check of the source that runs nothing of it. All run, also after one
# failed; the exit status tells whether any did. TAGS holds the build tags.
#
#   hack/lint.sh          check
#   hack/lint.sh --fix    only format the sources
set -uo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Pinned, so that a new release of a tool breaks no build of today.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
gofumpt=mvdan.cc/gofumpt@v0.12.0
shfmt=mvdan.cc/sh/v3/cmd/shfmt@v3.12.0
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
tags=${TAGS:?the build tags; run make lint}

failed=()
# What a check returns that could not be done here.
readonly skipped=77
check() {
	local name=$1 started=$SECONDS status=0
	shift
	"$@" || status=$?
	case $status in
	0) printf 'lint: %-12s ok (%ds)\n' "$name" $((SECONDS - started)) ;;
	"$skipped") printf 'lint: %-12s SKIPPED\n' "$name" ;;
	*)
		printf 'lint: %-12s FAILED\n' "$name"
		failed+=("$name")
		;;
	esac
}

# What a checkout holds, and what its owner is about to add.
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [[ ! -f $f ]] || echo "$f"; done; }

formatted() {
	local list
	list=$(files '*.go' | xargs -r go run "$gofumpt" -l) || return
	[[ -z $list ]] || {
		printf 'not formatted by gofumpt:\n%s\n' "$list"
		return 1
	}
}

# Scripts are told by their first line: those of cluster images have no suffix rule.
scripts() {
	{
		files '*.sh'
		files | grep -vE '\.go$|(^|/)testdata/' | while read -r f; do
			if head -n 1 -- "$f" | tr -d '\0' | grep -qE '^#!.*[/ ](ba|da)?sh( |$)'; then echo "$f"; fi
		done
	} | sort -u
}

shell_formatted() { scripts | grep -v '\.tmpl$' | xargs -r go run "$shfmt" -d; }
shell_clean() { scripts | grep -v '\.tmpl$' | xargs -r shellcheck --external-sources; }

# The database of vulnerabilities is a service on the Internet.
vulnerabilities() {
	local db=${GOVULNDB:-https://vuln.go.dev}
	if ! curl --silent --fail --max-time 10 --output /dev/null "$db/index/db.json"; then
		echo "lint: govulncheck: its database $db cannot be reached from here"
		return "$skipped"
	fi
	go run "$govulncheck" -tags "${tags// /,}" ./...
}

if [[ ${1:-} == --fix ]]; then
	files '*.go' | xargs -r go run "$gofumpt" -l -w
	scripts | grep -v '\.tmpl$' | xargs -r go run "$shfmt" -l -w
	exit
fi

check vet go vet -tags "$tags" ./...
check staticcheck go run "$staticcheck" -tags "$tags" ./...
check gofumpt formatted
check shfmt shell_formatted
check shellcheck shell_clean
# What the documents promise has a test that is named beside it.
check promises go test -tags "$tags" -count=1 -run '^TestEveryPromiseHasATest$' ./test
# Links of the documents lead somewhere, their commands say who runs them, and the pages that are made from the source are current.
check documents go test -tags "$tags" -count=1 -run 'Document|BadDays|Reference|ImagesNames|DrawingOf|ScriptsCall' ./test
# What CONTRIBUTING.md asks of the source, as far as a program can see it.
check house go test -tags "$tags" -count=1 -run '^TestHouse' ./test
check govulncheck vulnerabilities

((${#failed[@]} == 0)) || {
	echo "lint: failed: ${failed[*]}"
	exit 1
}
