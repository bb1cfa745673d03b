# `make` or `make help` says what there is.

PREFIX  ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=
PLUGIN  ?= mybr:latest
# How long make soak takes.
DURATION ?= 4h
# Another processor to build for, as Go names it (go tool dist list); empty: this machine's.
ARCH ?=
# Where make lint asks for known vulnerabilities: a mirror of https://vuln.go.dev, or a
# directory of its files as file:///DIRECTORY.
VULNDB ?=
# Given to make reliability: tests whose names match RUN, a regular expression, each COUNT times.
# Given to make bench: rows whose names match RUN, and how many rounds, times each row's own number.
RUN ?=
COUNT ?= 1
ROUNDS ?= 1
# Given to every `go test`: GOTESTFLAGS='-v -run TestSeed'.
GOTESTFLAGS ?=
# How long the integration tests of a package may take; LATER is for those that make test has
# begin behind others. They end with all goroutines' stacks while .ci/run still waits.
WITHIN = 90m
LATER =
# How many parts of make test run at a time. Each leaves processors idle, since most of its
# tests wait: for containers, for namespaces to go, for answers that must not come.
SIDE_BY_SIDE ?= 2
# The parts, the longest first.
PARTS = part-integration part-unit part-filter part-parity part-others part-fuzz part-lint
# What mybr filters packets with in the integration tests: iptables or nftables. Empty: some
# tests of make test have the one, some the other; others have what mybr chooses by itself.
FIREWALL := $(MYBR_TEST_FIREWALL)
# Given to the integration tests alone: mybr refuses settings that it doesn't know.
unexport MYBR_TEST_FIREWALL
WITH = MYBR_TEST_RACE=1 $(BACKEND)
BACKEND = $(if $(FIREWALL),MYBR_TEST_FIREWALL='$(FIREWALL)')
# The packages below integration/ but parity, two at a time, the longest first; and those of
# them whose tests hang on how packets are filtered.
INTEGRATION = ./integration/churn $$(go list ./integration/... | grep -Ev '/integration$$|/churn$$|/parity$$')
FILTERING = ./integration/churn ./integration/crash
# How long `make fuzz` runs each target.
FUZZTIME ?= 60s

VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
COMMIT  := $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Root's own programs, where a login without them calls make.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# What is built for another processor is kept apart.
BINARY := $(if $(ARCH),build/$(ARCH)/mybr,bin/mybr)
PLUGINDIR := build/plugin$(if $(ARCH),-$(ARCH))
BUILD = CGO_ENABLED=0 GOARCH='$(ARCH)' go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(1) ./cmd/mybr
SOURCES = go.mod go.sum $(shell find cmd driver internal ipam plugin -type f ! -name '*_test.go' ! -path '*/testdata/*')
# bbolt takes what is on a page for what it is said to be, and that of a damaged file may be
# something else: mybr bears the fault (internal/store), which checkptr would make fatal.
RACE = -race -gcflags=go.etcd.io/bbolt=-d=checkptr=0
# A program with the race detector else waits for a second when it ends.
RACE_ENV = CGO_ENABLED=1 GORACE=atexit_sleep_ms=0
# What needs no Docker: whole, since with -short laws draw a fifth of their examples (rapid); and
# the backends of the firewall, which know what they leave out then.
FILTER_PACKAGES = ./internal/firewall/iptables ./internal/firewall/nftables
UNIT_PACKAGES = $$(go list ./... | grep -Ev '/integration|/internal/firewall/(iptables|nftables)$$')
# The packages whose golden files `go test -update` writes.
GOLDEN_PACKAGES = $$(grep -rl 'flag.Bool("update"' --include='*_test.go' --exclude-dir=build . | xargs -r -n 1 dirname | sort -u)

.DEFAULT_GOAL := help
# make test has its parts made with BESIDE=yes. What tests make themselves is none of theirs.
ifeq ($(BESIDE),yes)
unexport MAKEFLAGS MFLAGS BESIDE
else
.NOTPARALLEL:
endif
.PHONY: help build install uninstall plugin plugin-install plugin-uninstall plugin-docker \
	demo man test test-full test-unit test-integration fuzz bench bench-quick reliability soak lint generate clean need-root need-test need-engine need-engines need-compose need-beside need-deb need-vm install-files deb release \
	$(PARTS) part-facts

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/mybr, a static binary (ARCH=arm64: build/arm64/mybr, for that processor)
	$(call BUILD,$(BINARY))

# Made only where it is missing or out of date: `sudo make install` after `make build`
# needs no Go, which sudo doesn't find in /usr/local/go/bin.
bin/mybr: $(SOURCES)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/mybr ./cmd/mybr

build/%/mybr: $(SOURCES)
	$(call BUILD,$@)

install: install-files ## Install the binary and the systemd units (PREFIX, UNITDIR, DESTDIR)
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo 'To start it now and at each boot: systemctl enable --now mybr.socket mybr.service'

install-files: $(BINARY)
	install -D -m 0755 $(BINARY) '$(DESTDIR)$(PREFIX)/bin/mybr'
	install -d '$(DESTDIR)$(UNITDIR)'
	for unit in mybr mybr-docker-proxy; do \
		sed 's|/usr/local/bin/mybr|$(PREFIX)/bin/mybr|' contrib/systemd/$$unit.service > '$(DESTDIR)$(UNITDIR)'/$$unit.service && \
		chmod 0644 '$(DESTDIR)$(UNITDIR)'/$$unit.service && \
		install -m 0644 contrib/systemd/$$unit.socket '$(DESTDIR)$(UNITDIR)'/$$unit.socket || exit 1; \
	done

# build, so that the version is the commit's where no source has changed; bin/mybr, since
# completions are written by a mybr that runs here.
deb: need-deb build bin/mybr man ## Build a Debian package in build/deb (ARCH=arm64: in build/deb-arm64): install it with apt install ./build/deb/mybr_*.deb
	@MAKE='$(MAKE)' GOARCH='$(ARCH)' scripts/deb build/deb$(if $(ARCH),-$(ARCH))

release: need-deb ## Build what a release has in build/release: packages and plugins for amd64 and arm64, with their SBOMs and SHA256SUMS
	@MAKE='$(MAKE)' VERSION='$(VERSION)' scripts/release build/release

# Their date is the commit's, so that a commit has one set of pages. What writes them is built as
# bin/mybr is, which shares all but cmd/mybr with it.
man: ## Write the manual pages to build/man
	rm -rf build/man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 0)} CGO_ENABLED=0 go run -trimpath -buildvcs=false -tags man ./cmd/mybr man build/man

uninstall: ## Stop and remove what install put there; the state in /var/lib/mybr stays
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl disable --now mybr-docker-proxy.socket mybr-docker-proxy.service mybr.socket mybr.service || true; fi
	rm -f '$(DESTDIR)$(PREFIX)/bin/mybr' '$(DESTDIR)$(UNITDIR)/mybr.service' '$(DESTDIR)$(UNITDIR)/mybr.socket' \
		'$(DESTDIR)$(UNITDIR)/mybr-docker-proxy.service' '$(DESTDIR)$(UNITDIR)/mybr-docker-proxy.socket'
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

plugin: build ## Build the managed plugin in build/plugin, from Debian packages: no image registry (ARCH=arm64: in build/plugin-arm64)
	go run ./plugin/pack -binary $(BINARY) -out $(PLUGINDIR) -arch '$(ARCH)'

plugin-docker: ## Build the managed plugin in build/plugin with the Dockerfile instead: needs a registry
	VERSION='$(VERSION)' COMMIT='$(COMMIT)' scripts/plugin-docker build/plugin

plugin-install: ## Put build/plugin into the local Docker as mybr:latest and enable it; also upgrades it
	@[ -d build/plugin/rootfs ] || { echo 'build/plugin is not there: run make plugin (or plugin-docker) first' >&2; exit 1; }
	scripts/plugin-install '$(PLUGIN)' build/plugin

plugin-uninstall: ## Disable and remove the managed plugin; the state in /var/lib/mybr stays
	docker plugin disable '$(PLUGIN)'
	docker plugin rm '$(PLUGIN)'

demo: need-engine build ## Show it at work: an isolated engine, two containers, a LAN (installs what is missing)
	go build -o build/demo ./integration/demo
	build/demo -mybr bin/mybr

# What go test -short leaves out says so: world.Full. CONTRIBUTING.md says what that is.
#
# The parts have namespaces of their own; what they share are Go's cache and build/engines, which
# have locks, and bin/mybr, which the first part writes at its beginning and part-others when it
# is there already. What a part prints comes in one piece when it ends, and one that fails does
# not keep the others from ending. What is measured comes last, when nothing else runs.
test: need-engines need-test need-compose need-beside ## Run unit tests, integration tests with one row of each kind, each fuzz target for 5 seconds, lint, and bench-quick (installs what is missing; FIREWALL=nftables: with that backend alone)
	$(MAKE) --keep-going --jobs=$(SIDE_BY_SIDE) --output-sync=target BESIDE=yes SHORT=-short WITHIN=30m LATER=20m FUZZTIME=5s FIREWALL='$(FIREWALL)' $(PARTS)
	$(MAKE) bench-quick

test-full: need-vm test-unit test-integration test-other fuzz lint ## Run everything, on the engines 20.10, 26.1 and 28.5, with both backends of the firewall, and in a virtual machine: before a release, and in hours

.PHONY: test-other
test-other:
	$(MAKE) test-integration FIREWALL=$(if $(filter nftables,$(FIREWALL)),iptables,nftables) INTEGRATION='$(FILTERING)'

test-unit: need-test part-unit part-filter part-facts ## Run the tests that need no Docker, with the race detector

part-unit:
	$(RACE_ENV) go test $(RACE) -timeout 10m $(GOTESTFLAGS) $(UNIT_PACKAGES)

part-filter:
	$(RACE_ENV) go test $(RACE) $(SHORT) -timeout 10m $(GOTESTFLAGS) $(FILTER_PACKAGES)

# Those of the comparison's tests that need no Docker: part-parity has them, too.
part-facts:
	go test $(SHORT) -timeout 10m -skip 'TestParity|TestMutations$$' $(GOTESTFLAGS) ./integration/parity

test-integration: need-engines need-test need-compose need-beside part-integration part-others part-parity ## Run the tests with real Docker Engines and real packets, in namespaces of their own: mybr with the race detector, then mybr beside Docker's own driver (FIREWALL=nftables: with that backend)

part-integration:
	$(WITH) go test $(SHORT) -count=1 -timeout $(WITHIN) $(GOTESTFLAGS) ./integration

part-others:
	$(WITH) go test $(SHORT) -count=1 -p 2 -timeout $(or $(LATER),$(WITHIN)) $(GOTESTFLAGS) $(INTEGRATION)

part-parity:
	$(BACKEND) go test $(SHORT) -count=1 -timeout $(or $(LATER),60m) $(GOTESTFLAGS) ./integration/parity

fuzz: part-fuzz ## Run each fuzz target for FUZZTIME (60s)

part-fuzz:
	scripts/fuzz '$(FUZZTIME)'

bench: need-engines need-test build ## Measure mybr beside Docker's own driver, on a machine that does nothing else, and write docs/performance.md (RUN=REGEXP: these rows; ROUNDS=0.5: half as often)
	go run ./integration/bench/run -mybr $(BINARY) -run '$(RUN)' -rounds '$(ROUNDS)'

bench-quick: need-engines need-test build ## The same in part, in some minutes: fails if mybr has got slower beside Docker's own driver
	go run ./integration/bench/run -mybr $(BINARY) -run '$(RUN)' -quick

reliability: need-engines need-test need-beside ## Have the host's faults happen under traffic and write docs/reliability.md (RUN=TestNAME: one test's rows; COUNT: how often)
	go run ./integration/reliability/table -run '$(RUN)' -count '$(COUNT)'

soak: need-engines need-test ## Let users and faults at mybr for hours (DURATION=4h), and write what happened to build/churn-*.json
	MYBR_TEST_RACE=1 MYBR_CHURN_DURATION='$(DURATION)' go test -count=1 -timeout 0 -v $(GOTESTFLAGS) ./integration/churn -run 'TestChurn$$'

lint: part-lint ## gofmt, go vet, staticcheck, go.mod, known vulnerabilities (VULNDB)

part-lint:
	@unformatted=$$(find . -path ./build -prune -o -name '*.go' -exec gofmt -l {} +); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted" >&2; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod tidy -diff
	@scripts/vulnerable '$(VULNDB)'

# Every test compares what these write, so CI fails when one is out of date.
generate: need-engines need-test ## Write golden files and the rule book anew
	for dir in $(GOLDEN_PACKAGES); do go test "$$dir" -count=1 -run 'Golden|RuleBook' -update || exit 1; done

clean: ## Remove bin and build
	rm -rf bin build

need-root:
	@[ "$$(id -u)" = 0 ] || { echo 'This makes network namespaces and needs root: try sudo -E env "PATH=$$PATH" make ...' >&2; exit 1; }

need-test: need-root
	@scripts/need cc=gcc /usr/include/stdlib.h=libc6-dev iptables=iptables iptables-legacy=iptables conntrack=conntrack nft=nftables strace=strace \
		ip=iproute2 nstat=iproute2 'dbus-daemon=dbus-daemon|dbus' chromium=chromium dot=graphviz firewalld=firewalld ufw=ufw jq=jq curl=curl sysctl=procps promtool=prometheus

need-engine: need-root
	@PATH=/usr/sbin:/usr/bin:/sbin:/bin scripts/need dockerd=docker.io 'docker=docker-cli|docker.io' iptables=iptables iptables-legacy=iptables \
		ip=iproute2 conntrack=conntrack tar=tar systemd-analyze=systemd git=git update-ca-certificates=ca-certificates
	@[ "$$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || scripts/need apparmor_parser=apparmor

# The newer engines are those of later Debian releases, made below build/engines.
need-engines: need-engine
	@scripts/need debootstrap=debootstrap /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

need-compose: need-root
	@PATH=/usr/sbin:/usr/bin:/sbin:/bin scripts/need docker-compose=docker-compose curl=curl

need-beside: need-root
	@PATH=/usr/sbin:/usr/bin:/sbin:/bin scripts/need firewalld=firewalld ufw=ufw nft=nftables 'dbus-daemon=dbus-daemon|dbus'

need-deb:
	@scripts/need dpkg-deb=dpkg

# The kernel and the system of the virtual machine come from debootstrap, as those of the
# newer engines do.
need-vm: need-engines need-deb
	@scripts/need qemu-system-x86_64=qemu-system-x86 mkfs.ext4=e2fsprogs
