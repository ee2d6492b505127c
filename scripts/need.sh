#!/usr/bin/env bash
# Says what is missing and how to get it. `need.sh tools` looks at what npm brought.
set -euo pipefail

missing=0
need() { # program, what for, hint
  if ! command -v "$1" >/dev/null 2>&1; then
    echo "setup: there is no $1, which is needed for $2. $3" >&2
    missing=1
  fi
}

if [ "${1:-}" = tools ]; then
  for tool in anvil cast forge; do
    if [ "$tool" = anvil ] && { [ -n "${GUARDRAIL_ANVIL:-}" ] || command -v anvil >/dev/null 2>&1; }; then
      continue
    fi
    if ! compgen -G "contracts/node_modules/@foundry-rs/$tool-*/bin/$tool" >/dev/null; then
      echo "setup: npm brought no $tool for this platform. Install Foundry 1.7.1, so that $tool is on PATH, and set GUARDRAIL_ANVIL to its anvil." >&2
      missing=1
    fi
  done
else
  need npm "Anvil, cast, forge and solc" "Install Node.js 20 or newer (https://nodejs.org)."
  need node "solc" "Install Node.js 20 or newer (https://nodejs.org)."
  need cargo "everything" "Install Rust 1.95 or newer (https://rustup.rs)."
  need cc "SQLite" "Install a C compiler (Debian: apt install gcc)."
  need git "the agent's commits" "Install git."
  need python3 "the sample service and its tests" "Install Python 3.11 or newer."
fi
exit "$missing"
