# Everything a person or a machine does with this repository. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The recipes are steps of one machine; cargo uses its cores by itself.
.NOTPARALLEL:

NEXTEST_PROFILE ?= default

.PHONY: help deps build test lint deny fuzz ci demo bench

help: ## Lists these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

deps: ## Installs what building and testing needs (Debian 12, as root)
	@scripts/install-deps.sh

build: ## Builds the program: target/release/rekindle
	cargo build --release --locked --package rekindle

test: deps ## Runs all tests against real servers, and lists what had to be skipped
	@NEXTEST_PROFILE='$(NEXTEST_PROFILE)' scripts/test.sh

lint: ## Checks the format, and clippy with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

deny: ## Checks licences, sources, banned crates and advisories
	@scripts/deny.sh

fuzz: ## Fuzzes each parser of stored bytes for a minute
	@scripts/fuzz.sh all 60

ci: ## Runs what every change must pass
	@.ci/run

demo: deps ## Destroys a whole stack and brings it back, in front of you
	@scripts/demo.sh

bench: deps ## Measures backup and restore
	@scripts/bench.sh
