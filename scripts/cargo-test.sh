#!/usr/bin/env bash
# Runs the Rust tests: with nextest where it is installed, else with cargo itself.
set -euo pipefail

if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --locked --all-targets --no-fail-fast "$@"
fi
exec cargo test --locked --all-targets --no-fail-fast "$@"
