#!/bin/sh
# Looks for known mistakes with slither and proves the properties in test/halmos with halmos. Both come from PyPI into
# contracts/.venv, at pinned versions. Fails on any finding and on any proof that does not hold or does not end.
#
# What slither is told to leave out, in slither.config.json, and why. None of it is of high or medium impact; a single
# place that is left out says so beside the code.
#   timestamp          expiry is a time; a validator can move a block's by seconds, a request lives for minutes.
#   calls-loop         `decide` asks at most 32 wallets, each with at most 100,000 gas, all by STATICCALL; any of them
#                      can only spoil the one decision that names it.
#   return-bomb        copying what a wallet returns is paid from what that bound leaves it to return.
#   missing-zero-check `transferAdmin(0)` calls a transfer off; nobody can accept for the zero address.
#   informational, optimization: style and gas, which forge's lints and `npm run bench-gas` look after.
set -eu
cd "$(dirname "$0")/.."

if ! cmp -s scripts/audit-requirements.txt .venv/installed.txt; then
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r scripts/audit-requirements.txt
  cp scripts/audit-requirements.txt .venv/installed.txt
fi
PATH="$PWD/.venv/bin:$PWD/node_modules/.bin:$PATH"
FOUNDRY_PROFILE=audit
export PATH FOUNDRY_PROFILE

echo "slither"
slither . --config-file slither.config.json --foundry-out-directory out/audit --fail-low

echo "halmos"
halmos --forge-build-out out/audit --contract AuthorizationProof --loop 8 --no-status
