#!/usr/bin/env bash
# Puts the packages of the independent checkers into tests/checkers/.venv, pinned by hash; says nothing where they are.
set -euo pipefail
cd "$(dirname "$0")/../tests/checkers"

if cmp -s requirements.txt .venv/installed.txt && .venv/bin/python -c '' 2>/dev/null; then
  exit 0
fi
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "checkers: python3 is missing, older than 3.11 or without venv. Install Python 3.11 (Debian: apt install python3 python3-venv)." >&2
  exit 1
fi
echo "checkers: pip install in tests/checkers/.venv (eth-account, rfc8785, rlp, trie; pinned by hash, about 75 MB)" >&2
rm -rf .venv
python3 -m venv .venv
if ! .venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.txt; then
  echo "checkers: pip could not install tests/checkers/requirements.txt; see above. It needs PyPI or a mirror." >&2
  exit 1
fi
cp requirements.txt .venv/installed.txt
