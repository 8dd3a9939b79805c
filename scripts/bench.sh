#!/usr/bin/env bash
# Measures backup and restore beside other programs. `make bench` calls it; docs/benchmarks.md
# tells what the numbers mean.
#
#   SCALE=20 scripts/bench.sh            a tenth of the data: a quick look
#   ONLY='in place,pgBackRest'           variants with one of these words in their name
#   ROUNDS=5 BENCH_DIR=/mnt/x KEEP=1     more rounds, elsewhere, the cluster left for a look
#   PARTS=wal                            only this part: backup, wal
#   REKINDLE=FILE                        this program, instead of building one
#
# The report goes to stdout, all measurements to $BENCH_DIR/results.jsonl. A program that is not
# installed and cannot be is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

rivals=(pgbackrest restic zstd)
for package in "${rivals[@]}"; do
    command -v "$package" >/dev/null && continue
    [[ $(id -u) == 0 ]] && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends "$package" >&2 ||
        printf '!!! %s is not installed, and cannot be\n' "$package" >&2
done

# shellcheck source=scripts/bench/build.sh
source scripts/bench/build.sh
program=$(build_rekindle "$PWD")
parts=${PARTS-backup wal}
[[ $parts != *backup* ]] || python3 -B scripts/bench/run.py "$program"
[[ $parts != *wal* ]] || python3 -B scripts/bench/wal.py "$program"
