#!/usr/bin/env bash
# Fuzzes each target for a number of seconds. What it finds goes to fuzz/found, never into the seeds in git.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "fuzz: there is no cargo-fuzz. Install it: cargo install cargo-fuzz --locked" >&2
  exit 1
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzz: there is no nightly Rust, which the coverage counters need. Install it: rustup toolchain install nightly" >&2
  exit 1
fi

for target in bundle proof; do
  mkdir -p "fuzz/found/$target"
  options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1)
  if [ -f "fuzz/$target.dict" ]; then
    options+=(-dict="fuzz/$target.dict")
  fi
  echo "fuzz: $target for $seconds seconds" >&2
  # No address sanitizer: the crate forbids unsafe code. Debug assertions and overflow checks are on.
  cargo +nightly fuzz run --sanitizer none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- "${options[@]}"
done
