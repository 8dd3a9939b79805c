#!/usr/bin/env bash
# Runs all tests, then says what had to be skipped and why. `make test` calls it.
set -uo pipefail
cd "$(dirname "$0")/.."

export REKINDLE_TEST_SKIPS=${REKINDLE_TEST_SKIPS:-$PWD/target/test-skips.txt}
mkdir -p "$(dirname "$REKINDLE_TEST_SKIPS")"
: >"$REKINDLE_TEST_SKIPS"

# Built once, so that no test takes the minutes. What cannot be built is skipped, and said.
cargo build --manifest-path tools/rustic/Cargo.toml --locked --quiet \
    --target-dir "${REKINDLE_TEST_CACHE:-target/test-servers}/rustic" ||
    echo "rustic could not be built; tests that need it will say so."

# Documentation first, so that the closing lines are those of the tests proper.
cargo test --workspace --locked --doc --quiet
documentation=$?
cargo nextest run --workspace --locked --no-fail-fast --profile "${NEXTEST_PROFILE:-default}" 2>&1 |
    tee target/test-output.txt
tests=${PIPESTATUS[0]}

echo
if [[ -s $REKINDLE_TEST_SKIPS ]]; then
    echo "Skipped, because this machine cannot do it:"
    sort -u "$REKINDLE_TEST_SKIPS" | sed 's/^/  /'
else
    echo "Nothing was skipped."
fi
if grep -qE '^ +FLAKY ' target/test-output.txt; then
    echo "Failed first and then passed; the test or the product is at fault, and either is to be mended:"
    grep -E '^ +FLAKY ' target/test-output.txt | sed -E 's/^ +FLAKY [^]]*\] *(\([^)]*\))? */  /' | sort -u
fi
((documentation == 0)) && echo "Documentation tests: passed" || echo "Documentation tests: FAILED"
grep -E '^ +Summary \[' target/test-output.txt | tail -n 1
((documentation == 0 && tests == 0))
