#!/usr/bin/env bash
# Measures backup and restore beside other programs. `make bench` calls it; docs/benchmarks.md
# tells what the numbers mean.
#
#   SCALE=20 scripts/bench.sh            a tenth of the data: a quick look
#   ONLY='in place,pgBackRest'           variants with one of these words in their name
#   ROUNDS=5 BENCH_DIR=/mnt/x KEEP=1     more rounds, elsewhere, the cluster left for a look
#   PARTS=wal                            only this part: backup, wal, sets, buckets, files
#   SMALL_FILES=2000 INDEX_MIB=120       a tenth of the sets of files
#   FILES_MIB=200                        a tenth of the tree of files that the engine gets
#   BUCKET_OBJECTS=2000                  a tenth of the small objects
#   FILL=0                               leaves free memory to others (scripts/bench/memory.py)
#   REKINDLE=FILE ENGINE=FILE            these programs, instead of building them
#
# The report goes to stdout, all measurements to $BENCH_DIR/results.jsonl. A program that is not
# installed and cannot be is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

rivals=(pgbackrest restic zstd borg)
for package in "${rivals[@]}"; do
    command -v "$package" >/dev/null && continue
    [[ $package != borg ]] || package=borgbackup
    [[ $(id -u) == 0 ]] && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends "$package" >&2 ||
        printf '!!! %s is not installed, and cannot be\n' "$package" >&2
done

# shellcheck source=scripts/bench/build.sh
source scripts/bench/build.sh
parts=${PARTS-backup wal sets buckets files}
# rustic, if files are to be compared with it too: `cargo install rustic-rs`.
if [[ $parts == *backup* || $parts == *wal* || $parts == *sets* || $parts == *buckets* ]]; then
    program=$(build_rekindle "$PWD")
    [[ $parts != *backup* ]] || python3 -B scripts/bench/run.py "$program"
    [[ $parts != *wal* ]] || python3 -B scripts/bench/wal.py "$program"
    [[ $parts != *sets* ]] || python3 -B scripts/bench/file_sets.py "$program"
    [[ $parts != *buckets* ]] || python3 -B scripts/bench/buckets.py "$program"
fi
# The engine alone.
if [[ $parts == *files* ]]; then
    engine=${ENGINE-$(build_engine "$PWD")}
    python3 -B scripts/bench/files.py "$engine"
fi
