# What a person types: `make demo`, `make test`. Each does its own set-up and says what it does.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CONTRACTS := contracts
STAMP := $(CONTRACTS)/node_modules/.guardrail-setup
FORGE = $(firstword $(wildcard $(CONTRACTS)/node_modules/@foundry-rs/forge-*/bin/forge) forge)

.PHONY: help setup demo test soak bench fuzz check fmt lint contracts-test artifact-check bench-gas audit-contract coverage-contract clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## bring Anvil, cast, forge, solc and OpenZeppelin by npm

$(STAMP): $(CONTRACTS)/package-lock.json
	@scripts/need.sh
	@echo "setup: npm ci in $(CONTRACTS)/ (Anvil, cast, forge, solc, OpenZeppelin; pinned, about 200 MB on disk)"
	@cd $(CONTRACTS) && npm ci --no-audit --no-fund --loglevel=error
	@scripts/need.sh tools
	@touch $@

demo: setup ## watch an agent fix a bug, get stopped, be approved, go on
	@echo "demo: building guardrail (the first time takes some minutes)"
	@cargo build --locked --quiet
	@target/debug/guardrail demo $(ARGS)

test: setup ## every test: contract, Rust, end to end
	@echo "test: contract (forge)"
	@$(MAKE) --no-print-directory contracts-test
	@echo "test: Rust (units, properties, end to end on a real Anvil)"
	@scripts/cargo-test.sh

# Modules of tests/ whose long forms a soak runs.
FAULTS := crash_matrix random_kills node_kills proxy hostile_rpc overflow two_bridges disk_full many_pending bridge_daemon independent_checkers tampering

soak: setup ## the fault tests in their long form, under half an hour; writes docs/crash_matrix.md
	@echo "soak: crashes, kills, lying endpoints, full disks (GUARDRAIL_SEED repeats a run)"
	@GUARDRAIL_SOAK=1 scripts/cargo-test.sh -- $(FAULTS:%=%::)

contracts-test: setup
	@cd $(CONTRACTS) && $(abspath $(FORGE)) test --force

artifact-check: setup
	@cd $(CONTRACTS) && npm run --silent artifact:check

bench: setup ## speed beside the least that does the same; one area: make bench AREA=bridge
	@echo "bench: building for release (the first time takes some minutes), then about ten minutes"
	@cargo bench --locked --quiet --bench guardrail -- $(AREA)

FUZZ_SECONDS ?= 600

fuzz: ## fuzz the bundle and the proof checker, FUZZ_SECONDS each (600); needs a nightly Rust and cargo-fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

bench-gas: setup ## gas beside OpenZeppelin's controllers, compared with the snapshot
	@cd $(CONTRACTS) && npm run --silent bench-gas && npm run --silent bench-gas:check

audit-contract: setup ## slither and halmos (PyPI, in a virtual environment of their own; some minutes)
	@cd $(CONTRACTS) && npm run --silent audit

coverage-contract: setup ## forge coverage of the contract
	@cd $(CONTRACTS) && npm run --silent coverage

lint: setup ## rustfmt, clippy, forge fmt, artifact drift, spelling
	@cargo fmt --all --check
	@cargo clippy --locked --all-targets --features failpoints,risk-train --quiet -- -D warnings
	@cd $(CONTRACTS) && $(abspath $(FORGE)) fmt --check
	@$(MAKE) --no-print-directory artifact-check
	@scripts/spelling.sh

check: lint test ## what CI runs

fmt: ## format Rust and Solidity
	@cargo fmt --all
	@cd $(CONTRACTS) && $(abspath $(FORGE)) fmt

clean: ## forget builds and demo runs; the lock files stay
	@rm -rf target $(CONTRACTS)/out $(CONTRACTS)/cache .guardrail
