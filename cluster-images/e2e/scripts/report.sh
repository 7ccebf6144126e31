#!/usr/bin/env bash
# Reads what the tests wrote; sourced by conformance.sh.

# results JUNIT: a line for each test that was selected: status, seconds, name, and the first lines of what was wrong, with
# tabs between. Of the tests that were not selected the file says "skipped" and no reason.
results() {
	awk '
		function attribute(line, key,    at, text) {
			at = index(line, " " key "=\"")
			if (!at) return ""
			text = substr(line, at + length(key) + 3)
			return substr(text, 1, index(text, "\"") - 1)
		}
		function plain(text) {
			gsub(/&#xA;|&#x9;|&#xD;/, " ", text); gsub(/&lt;/, "<", text); gsub(/&gt;/, ">", text)
			gsub(/&#34;|&quot;/, "\"", text); gsub(/&#39;|&apos;/, "\047", text); gsub(/&amp;/, "\\&", text)
			gsub(/[ \t]+/, " ", text); sub(/ $/, "", text)
			return text
		}
		function flush() {
			if (name != "" && !(status == "skipped" && (message == "" || message == "skipped")))
				printf "%s\t%.1f\t%s\t%s\n", status, seconds, name, substr(message, 1, 600)
			name = ""; message = ""
		}
		/<testcase / {
			flush()
			name = plain(attribute($0, "name")); sub(/^\[It\] /, "", name)
			status = attribute($0, "status"); seconds = attribute($0, "time")
		}
		# What was wrong stands in the element or in its attribute, and after it the place in the source.
		/<(failure|error|skipped) / && message == "" {
			message = attribute($0, "message")
			if (message == "") {
				message = $0; sub(/^[^>]*>/, "", message); sub(/<\/(failure|error|skipped)>.*/, "", message)
				sub(/&#xA;In \[.*/, "", message); sub(/^\[FAILED\] /, "", message)
			}
			gsub(/\357\277\275\[[0-9;]*m/, "", message)
			message = plain(message)
		}
		END { flush() }
	' "$1"
}

# done_so_far, failed_so_far: how many tests the log of a run speaks of. ginkgo sets a dot for each.
done_so_far() { grep -oE '•|S \[SKIPPED\]' | wc -l; }
failed_so_far() { grep -cE '^• \[(FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\]' || true; }

# verdict RESULTS TOTAL: the areas, then each test that did not pass with the first thing that was wrong.
verdict() {
	awk -F '\t' -v total="$2" '
		$3 ~ /^\[[A-Za-z]*Suite\]/ { if ($1 == "passed") next; area = "the suite itself"; all-- }
		$3 !~ /^\[[A-Za-z]*Suite\]/ { area = match($3, /\[sig-[a-z-]+\]/) ? substr($3, RSTART + 1, RLENGTH - 2) : "other" }
		{ n[area]++; all++; s[area] += $2 }
		$1 == "passed" { p[area]++ }
		END {
			printf "%-24s %6s %6s %6s %8s\n", "area", "tests", "passed", "not", "seconds"
			while ((area = nextof(n)) != "") { printf "%-24s %6d %6d %6d %8d\n", area, n[area], p[area], n[area] - p[area], s[area]; delete n[area] }
			if (all < total) printf "%d tests did not begin\n", total - all
		}
		function nextof(set,    k, least) { least = ""; for (k in set) if (least == "" || k < least) least = k; return least }
	' "$1"
	awk -F '\t' '$1 != "passed" { printf "%s %s\n    %s\n", toupper($1), $3, $4 == "" ? "(no message; see e2e.log)" : $4 }' "$1"
}

# product VERSION: what the programme wants to know; what only the submitter knows is left open.
product() {
	cat <<-YAML
		# See https://github.com/cncf/k8s-conformance/blob/master/instructions.md; fill in what is empty.
		vendor: ""
		name: sealbuild
		version: ""
		website_url: ""
		repo_url: ""
		documentation_url: ""
		product_logo_url: ""
		type: installer
		description: Installs Kubernetes ${1#v} from one file on hosts without a network.
		contact_email_address: ""
	YAML
}

# reproduce VERSION WHAT: how this report came to be.
reproduce() {
	cat <<-MD
		# How to reproduce

		1. On a connected machine: \`make conformance-bundle OUT=conformance\`.
		2. Carry the file to the first control plane and install Kubernetes $1:
		   \`./conformance --masters ADDRESS --nodes ADDRESS,ADDRESS\`. On a cluster made with the same rootfs, \`./conformance\` adds the tests.
		3. There: \`kube-conformance ${2:-all}\`.

		nodes.txt lists the hosts, verdict.txt the results by area.
	MD
}
