# make help tells what there is to make. Everything here is also what
# continuous integration runs: .ci/run calls these targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

GO ?= go
# buildah and its libraries: no gpgme, no btrfs, no device mapper, so no cgo.
TAGS := containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper
# The commit alone names a build, so that two builds of one commit are one.
VERSION ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags "$(TAGS)" -ldflags "$(LDFLAGS)"
SBOMBUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -buildid="

# Programs of the module itself, e.g. UNIT="./bundle/..." for a part of it.
UNIT ?= ./...
# Four packages at once, also on two processors: tests wait for servers and shells, too.
TESTFLAGS ?= -race -p 4 -timeout 30m
# What only computes shares nothing with anybody, and is many times slower under the detector: hashes, compression, schemas, patterns, noise.
# Not encoding/json, which would save a third of installer/steps: it keeps what it knows of types, and the detector must see how it locks that.
COMPUTING := compress/... crypto/internal/fips140/... crypto/sha256 github.com/klauspost/compress/... \
	github.com/santhosh-tekuri/jsonschema/... github.com/titanous/rocacheck golang.org/x/crypto/blowfish math/big math/rand/v2 regexp/...
# lint vets.
UNITFLAGS = -vet=off $(if $(findstring -race,$(TESTFLAGS)),$(COMPUTING:%=-gcflags=%=-race=false))
# What `make test` installs on real hosts; empty installs nothing.
TEST_SCENARIOS ?= install
SCENARIO ?= $(error which? make e2e SCENARIO=install; make scenarios lists them)

export TAGS

## build: bin/sealbuild and bin/sealinstall, static, for this machine's platform
.PHONY: build
build:
	mkdir -p bin
	$(GOBUILD) -o bin/sealbuild ./cmd/sealbuild
	$(GOBUILD) -o bin/sealinstall ./cmd/sealinstall

## sealsbom: bin/sealsbom, which lists the packages inside images; a module of its own, minutes the first time
.PHONY: sealsbom
sealsbom:
	mkdir -p bin
	cd cmd/sealsbom && $(SBOMBUILD) -o ../../bin/sealsbom .

## sealsbom-test: its tests, and those of sealbuild that run it
.PHONY: sealsbom-test
sealsbom-test: sealsbom
	cd cmd/sealsbom && export CGO_ENABLED=0 && $(GO) vet -trimpath . && $(GO) test -trimpath .
	$(GO) test -tags "$(TAGS)" -count=1 -run Sealsbom ./bundle/assemble/sbom

## build-all: the same, bin/sealsbom, and bin/sealinstall-linux-ARCH for every platform a bundle can carry
.PHONY: build-all
build-all: build sealsbom
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(GOBUILD) -o bin/sealinstall-linux-$$arch ./cmd/sealinstall; done

## release: archives, packages, pages, sums, bill and notes of this commit in RELEASE=DIR (bin/release); SIGN=KEYFILE signs the sums
# The same commit and Go give the same bytes: every time is the commit's, and no setting of this machine counts.
RELEASE ?= bin/release
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
.PHONY: release
release:
	rm -rf "$(RELEASE)"
	mkdir -p "$(RELEASE)"
	export GOAMD64=v1 GOARM64=v8.0 GOFLAGS= GOOS=linux; for arch in amd64 arm64; do for program in sealbuild sealinstall; do \
		GOARCH=$$arch $(GOBUILD) -o "$(RELEASE)/$$program-linux-$$arch" ./cmd/$$program; done; \
		(out=$$(realpath "$(RELEASE)"); cd cmd/sealsbom && GOARCH=$$arch $(SBOMBUILD) -o "$$out/sealsbom-linux-$$arch" .); done
	out=$$(realpath "$(RELEASE)"); cd hack/release && CGO_ENABLED=0 $(GO) run . -source ../.. -out "$$out" \
		-version "$(VERSION)" -commit "$(COMMIT)" -epoch "$(SOURCE_DATE_EPOCH)" -sign "$(if $(SIGN),$(abspath $(SIGN)))"

## release-test: a release of the last commit twice, at two places; its .deb is installed below a directory and asked for its version
.PHONY: release-test
release-test:
	hack/release-test.sh

## deps: the Debian packages that testing needs; nothing when they are there
.PHONY: deps
deps:
	hack/deps.sh

## test: deps, lint, unit tests with the race detector, then real clusters (TEST_SCENARIOS, default install)
.PHONY: test
test: deps
	$(MAKE) lint
	$(MAKE) unit
	if [[ -n "$(TEST_SCENARIOS)" ]]; then $(MAKE) e2e SCENARIO="$(TEST_SCENARIOS)"; fi

## unit: unit tests only; UNIT=./bundle/... for a part, TESTFLAGS= without the race detector
# A program with the race detector waits a second at its end; those that buildah and the tests start are many, and short.
# Heaps of tests are small, so that collecting them at every doubling is a quarter of what they cost.
# The detector makes some tests so slow that they take a sample under it; those run whole without it, of packages that are compiled
# as build compiles them: most of them are there.
UNRACED := MemoryDoesNotGrow|EveryFlippedByte|EveryTruncation|EveryBlobComesBack|EveryFault$$|FollowsAReset|CutAnywhereKeepsEtcd|FiveThousand|LittleMemory|AnswerThatWasCut|CostsNoAllocation|WrittenOnceAndReadBack|ManyLargeFiles|FormsOfKubefilesAndTheImagesFound|ASecretIsReadAndKeptNowhere|BasesAreTakenWithLayersOfEveryKind|BasesByDigestAndBesideTheStages|ChartsAreRenderedForTheKubernetesOfTheSite|UnusualImagesAreTakenOrRefusedAlike|WhatABaseHasDoneOnBuildIsSearchedAndCounts|WhatLiesElsewhereInTheImageIsFound|WhatTheContextDoesNotShowIsSearchedInTheImage|AnOldPackageIsBuilt$$|EveryDeathOfItsPrograms|SurvivesPowerCuts|WithAnUpgradeGoesBack|CutOffIsTakenBack|GoesOnWhenItIsBack|DiesForEver
.PHONY: unit
unit:
	@export GOGC=400; whole=; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	if [[ "$(TESTFLAGS)" == *-race* && "$(UNIT)" == ./... ]]; then \
		CGO_ENABLED=0 $(GO) test -trimpath -tags "$(TAGS)" -vet=off -p 1 -timeout 30m -run '$(UNRACED)' ./bundle ./bundle/assemble ./installer/steps ./installer/agent/... >"$$log" 2>&1 & whole=$$!; fi; \
	failed=0; GORACE=atexit_sleep_ms=0 $(GO) test -tags "$(TAGS)" $(UNITFLAGS) $(TESTFLAGS) $(UNIT) || failed=$$?; \
	if [[ -n $$whole ]]; then echo 'without the race detector:'; wait "$$whole" || failed=$$?; cat "$$log"; fi; exit "$$failed"

## lint: go vet, staticcheck, gofumpt, shellcheck, govulncheck
.PHONY: lint
lint:
	hack/lint.sh

## docs: the pages of docs/reference, written anew from the programs; tests fail while they are not current
.PHONY: docs
docs:
	SEALBUILD_DOCS=write $(GO) test -tags "$(TAGS)" -vet=off -count=1 -run '^TestTheReference(OfCommandsIsThatOfTheProgram|IsThatOfTheSource)$$' ./cmd/sealbuild ./cmd/sealinstall ./test

## fmt: rewrite the Go sources as lint wants them
.PHONY: fmt
fmt:
	hack/lint.sh --fix

## fuzz: every fuzz target for FUZZTIME (default 20s); FUZZ=name for one
.PHONY: fuzz
fuzz:
	hack/fuzz.sh

## upstream: the real Kubernetes pieces the clusters are made of; minutes the first time, cached outside the tree
.PHONY: upstream
upstream: deps
	test/upstream/make.sh

## upstream-before: the same of the minor version before, to upgrade from
.PHONY: upstream-before
upstream-before: deps
	test/upstream/make.sh before

## upstream-conformance: Kubernetes' own tests, their runner and their images, in the same way
.PHONY: upstream-conformance
upstream-conformance: deps
	test/upstream/make.sh conformance

## registry-conformance: the suite of OCI's distribution specification, against the registry and a bundle served in place
# Pinned to a commit: the suite has no releases.
OCI_SUITE := github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
.PHONY: registry-conformance
registry-conformance:
	suite="$${SEALBUILD_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/sealbuild-test}/oci-suite"; mkdir -p "$$suite"; \
	GOBIN="$$suite" $(GO) install $(OCI_SUITE); \
	$(GO) test -tags "$(TAGS)" -count=1 -v ./test/ocispec -suite "$$suite/conformance"

## demo: build a bundle, boot a closed network of two hosts, install, use, reset; told as a story; RECORD=docs/media keeps demo.cast and demo.svg
.PHONY: demo
demo: deps
	$(GO) run -tags "$(TAGS)" ./test/demo $(if $(RECORD),-record "$(RECORD)")

## e2e: a scenario on real hosts, SCENARIO=name, several with commas, or all; FOCUS=regex for some of conformance
.PHONY: e2e
e2e: deps
	scenario="$(SCENARIO)"; $(GO) test -tags "$(TAGS)" -count=1 -timeout 180m -v ./test/e2e -run '^TestScenario$$' -scenario "$$scenario"

## conformance-bundle: Kubernetes' own conformance tests as one file for a site, OUT=FILE; see cluster-images/e2e
.PHONY: conformance-bundle
conformance-bundle: deps
	out="$(or $(OUT),$(error which file? make conformance-bundle OUT=conformance))"; $(GO) run -tags "$(TAGS)" ./test/conformance "$$out"

## scenarios: the names SCENARIO takes
.PHONY: scenarios
scenarios:
	@sed -nE 's/^[[:space:]]*\{"([a-z0-9-]+)", "(.*)", [A-Za-z]+\},/\1\t\2/p' test/scenario/scenario.go | expand -t 14

## bench: build, bundle, serve and install measured from outside, as a table and in test/bench/results.json; FLAGS=-quick boots no hosts, FLAGS=-only=sync,fanout for parts
.PHONY: bench
bench:
	hack/deps.sh bench
	$(GO) run -tags "$(TAGS)" ./test/bench $(FLAGS)

## gobench: Go benchmarks of the format, the wire and the store; BENCH=name for one, COUNT=n runs
.PHONY: gobench
gobench:
	$(GO) test -tags "$(TAGS)" -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) -timeout 60m ./bundle/... ./registry/... ./installer/...

## ipvs: care's IPVS balancing in a kernel that has ip_vs, booted in an emulator
.PHONY: ipvs
ipvs:
	hack/deps.sh ipvs
	test/ipvs/run.sh

## clean: what was built here, and what killed test runs left on this machine; CACHE=1 also the caches outside the tree
.PHONY: clean
clean:
	rm -rf bin
	$(GO) run ./test/testbed/cmd/bed sweep
	if [[ -n "$(CACHE)" ]]; then \
		cd "$${SEALBUILD_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/sealbuild-test}" && \
		rm -rf tree-* debs beds runs parts upstream-* before-* conformance-* registry-* store ipvs-* bench-* crane-* oci-suite sealos-* sealinstall*; fi

## help: this list
.PHONY: help
help:
	@echo 'make TARGET'
	@echo
	@sed -nE 's/^## ([a-z0-9-]+): (.*)/\1\t\2/p' Makefile | expand -t 14 | sed 's/^/  /'
	@echo
	@echo 'Caches (host tree, Kubernetes pieces, image store) lie outside the tree:'
	@echo '  $${SEALBUILD_CACHE:-$${XDG_CACHE_HOME:-~/.cache}/sealbuild-test}'
	@echo 'Real hosts need root and Linux; everything else runs as any user.'
	@echo 'Hosts by hand: go run ./test/testbed/cmd/bed up 3'
