#!/usr/bin/env bash
# Every check of the source that runs nothing of it. All run, also after one
# failed; the exit status tells whether any did. TAGS holds the build tags.
#
#   hack/lint.sh          check
#   hack/lint.sh --fix    only format the Go sources
set -uo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Pinned, so that a new release of a tool breaks no build of today.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
gofumpt=mvdan.cc/gofumpt@v0.12.0
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
tags=${TAGS:?the build tags; run make lint}

failed=()
check() {
    local name=$1 started=$SECONDS
    shift
    if "$@"; then
        printf 'lint: %-12s ok (%ds)\n' "$name" $((SECONDS - started))
    else
        printf 'lint: %-12s FAILED\n' "$name"
        failed+=("$name")
    fi
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

shell_clean() { scripts | grep -v '\.tmpl$' | xargs -r shellcheck --external-sources; }

# The database of vulnerabilities is a service on the Internet.
vulnerabilities() {
    local db=${GOVULNDB:-https://vuln.go.dev}
    if ! curl --silent --fail --max-time 10 --output /dev/null "$db/index/db.json"; then
        echo "lint: govulncheck skipped: its database $db cannot be reached from here"
        return 0
    fi
    go run "$govulncheck" -tags "${tags// /,}" ./...
}

if [[ ${1:-} == --fix ]]; then
    files '*.go' | xargs -r go run "$gofumpt" -l -w
    exit
fi

check vet go vet -tags "$tags" ./...
check staticcheck go run "$staticcheck" -tags "$tags" ./...
check gofumpt formatted
check shellcheck shell_clean
# What the documents promise has a test that is named beside it.
check promises go test -tags "$tags" -count=1 -run '^TestEveryPromiseHasATest$' ./test
check govulncheck vulnerabilities

((${#failed[@]} == 0)) || {
    echo "lint: failed: ${failed[*]}"
    exit 1
}
