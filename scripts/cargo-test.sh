#!/usr/bin/env bash
# Runs the Rust tests: with nextest where it is installed, else with cargo itself.
set -euo pipefail

# The contract compiler is a program apart: it must not share serde_json features with the crate under test.
CARGO_TARGET_DIR="$PWD/target" cargo build --locked --quiet --manifest-path contracts/compiler/Cargo.toml

# The checkers in Python, which share no code with the crate.
scripts/checkers-setup.sh

# Not --all-targets: a benchmark is no test. With failpoints the bridge can be killed at its named points; with risk-train
# the model can be fitted.
targets=(--lib --bins --tests --features failpoints,risk-train)
if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --locked "${targets[@]}" --no-fail-fast "$@"
fi
exec cargo test --locked "${targets[@]}" --no-fail-fast "$@"
