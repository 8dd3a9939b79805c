#!/usr/bin/env bash
# Fuzzes the parsers of stored bytes, with libFuzzer and stable Rust.
#
#   scripts/fuzz.sh [TARGET|all] [SECONDS]    each target for so many seconds (default: all, 10)
#
# What is found interesting stays in target/fuzz/corpus/TARGET; what makes a parser fail lies in
# target/fuzz/artifacts/TARGET, and the end says so. `scripts/fuzz.sh TARGET -- FILE` tries one file again.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-all}
seconds=${2:-10}
out=$PWD/target/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')

command -v c++ >/dev/null || command -v g++ >/dev/null || {
    printf '\n!!! NOTHING WAS FUZZED: no C++ compiler, and libFuzzer is built with one (apt-get install g++).\n\n'
    exit 0
}

# libFuzzer's instrumentation is LLVM's own and needs nothing of nightly but the permission. `--target` keeps it out of
# build scripts and macros. No sanitizer: what is ours has no unsafe code that it could watch.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing)
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$out CARGO_INCREMENTAL=0
export CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUSTFLAGS="${flags[*]}"

only=(--bins)
[[ $target == all ]] || only=(--bin "$target" --bin seeds)
cargo build --manifest-path fuzz/Cargo.toml --locked --quiet --release --target "$triple" "${only[@]}"
bin=$out/$triple/release
REKINDLE_FUZZ_SEEDS=$out/seeds "$bin/seeds" >/dev/null

if [[ ${2-} == -- ]]; then
    exec "$bin/$target" "${@:3}"
fi

targets=("$target")
[[ $target != all ]] || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
failed=()
for target in "${targets[@]}"; do
    corpus=$out/corpus/$target artifacts=$out/artifacts/$target
    mkdir -p "$corpus" "$artifacts" "$out/seeds/$target"
    known=()
    [[ ! -d testdata/fuzz/$target ]] || known=("testdata/fuzz/$target")
    if "$bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$artifacts/" "$corpus" "$out/seeds/$target" "${known[@]}" >"$out/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$out/$target.log")
        printf 'fuzz: %-14s %s runs, nothing found\n' "$target" "${runs:-?}"
    else
        printf 'fuzz: %-14s FAILED, see %s and %s\n' "$target" "$out/$target.log" "$artifacts"
        grep -aE 'panicked|assertion|left:|right:|SUMMARY|ERROR' "$out/$target.log" | head -n 6 | sed 's/^/      /'
        failed+=("$target")
    fi
done
((${#failed[@]} == 0)) || { printf 'fuzz: %s failed\n' "${failed[*]}"; exit 1; }
