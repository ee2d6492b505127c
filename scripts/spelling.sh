#!/usr/bin/env bash
# Finds the misspellings that slip in most often; the list grows when one is seen.
set -euo pipefail

words='\b(teh|recieve[ds]?|occured|seperate|definately|wich|thier|accomodate|succesful(ly)?|neccessary|existance|arguement|paramter|retreive|untill|begining|enviroment|priviledge|calender|lenght|heigth|transation|authorisation|signiture|verfiy|approvel)\b'
if git grep -nIiE "$words" -- ':!scripts/spelling.sh' ':!*.lock' ':!*package-lock.json' ':!tests/vectors'; then
  echo "spelling: mend the words above" >&2
  exit 1
fi
