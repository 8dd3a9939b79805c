#!/usr/bin/env bash
# Checks licences, sources and banned crates, and advisories when their database can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo deny --locked check --hide-inclusion-graph bans licenses sources

database=https://github.com/RustSec/advisory-db
if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --quiet --exit-code "$database" HEAD >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    printf '\n!!! ADVISORIES WERE NOT CHECKED: %s cannot be reached from here.\n' "$database"
    printf '!!! Known vulnerabilities in dependencies would go unseen; run `make deny` where it can.\n\n'
fi
