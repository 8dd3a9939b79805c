#!/usr/bin/env bash
# Destroys a database and brings it back, in front of you. `make demo` calls it.
#
# A throw-away PostgreSQL with some hundred megabytes of data and a client that writes all the time
# is backed up twice while its WAL streams into the vault; a table is emptied by mistake; then the
# server is killed and deleted. It comes back to its last moment, and to the moment before the
# mistake, and is compared with what it was, table by table: by Rekindle, out of its dump, and by
# stock restic. Fails if anything differs.
#
#   KEEP=1 scripts/demo.sh               leaves the files for a look
#   REKINDLE=FILE scripts/demo.sh        shows this program instead of building one
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
# shellcheck source=scripts/demo/lib.sh
source scripts/demo/lib.sh
# shellcheck source=scripts/bench/build.sh
source scripts/bench/build.sh

program=$(build_rekindle "$repository")

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/rekindle-demo.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 711 "$WORK"
cd "$WORK"
export PATH="$(dirname "$program"):$PGBIN:$PATH" REKINDLE_CONFIG=$WORK/rekindle.yaml
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGOPTIONS

step "A PostgreSQL server, its data, and a client that never stops writing"
make_server server
start_server server
sql -d postgres -c 'CREATE DATABASE shop'
sql -d shop -v accounts=1500000 -v documents=130000 -v images=4000 \
    -f "$repository/scripts/bench/database.sql"
sql -d shop -c 'CREATE TABLE ledger (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written timestamptz NOT NULL DEFAULT clock_timestamp())'
start_writer
database_bytes=$(sql -d shop -c "SELECT pg_database_size('shop')")
note "database shop: $(mib "$database_bytes") in tables accounts, documents, images and ledger"

step "A vault"
(umask 077 && openssl rand -hex 20 >password)
cat >rekindle.yaml <<CONFIG
stack: demo
vault: { at: vault, password_file: password }
services:
  db:
    datasets:
      - kind: postgres
        url: "postgres:///postgres?host=$WORK/run&user=postgres"
        physical: true
        logical: [shop]
        wal: stream
        wal_spool: spool
CONFIG
show cat rekindle.yaml
show rekindle --quiet vault init

step "WAL goes to the vault as it is written"
say_command "rekindle wal stream &"
start_receiver

step "The first backup: the data directory, and a dump of the database"
from=$(now_ms)
show rekindle --quiet backup
first_ms=$(($(now_ms) - from))
stored_first=$(du -sb vault | cut -f1)

step "Changes: 2 % of the rows, and the client goes on"
sql -d shop -v round=7 -f "$repository/scripts/bench/churn.sql"
fingerprint shop >before-accident
note "rows and hashes of all tables but the ledger are recorded"

step "The second backup"
written_before=$(acknowledged)
from=$(now_ms)
show rekindle --quiet backup
second_ms=$(($(now_ms) - from))
stored_second=$(du -sb vault | cut -f1)
show rekindle points
read -r first_size second_size second_added < <(rekindle --json points | python3 -c '
import json, sys
first, second = json.load(sys.stdin)["points"]
print(first["size_bytes"], second["size_bytes"], second["added_bytes"])')

step "The accident: a DELETE without its WHERE; nobody notices for a moment"
say_command "psql -d shop -c 'DELETE FROM documents'"
sql -d shop -c 'DELETE FROM documents'
sleep 1

step "The disaster"
say_command "kill -9 ${servers[server]}; rm -rf server"
disaster=$(now_ms)
kill_server server
# A process that is about to die may still make a file.
until rm -rf server 2>/dev/null; do sleep 0.02; done
stop_writer
written=$(acknowledged)
note "the server and its directory are gone; it had acknowledged $written rows of the ledger"
stop_receiver
note "the receiver has put the last it received into the vault, and ended"

step "Back again: the last moment"
from=$(now_ms)
show rekindle --quiet restore --at latest --to restored
restore_ms=$(($(now_ms) - from))
say_command "pg_ctl -D restored -w start"
start_server restored
await_recovery
say_command "psql -d shop -c 'SELECT count(*), max(written) FROM ledger'"
sql -d shop -F ', ' -c 'SELECT count(*), max(written) FROM ledger'
back_ms=$(($(now_ms) - disaster))
restored_bytes=$(du -sb --exclude=pg_wal restored | cut -f1)
note "$(seconds "$back_ms") s from the disaster to the first answer"
IFS=' ' read -r rows highest < <(sql -d shop -F ' ' -c 'SELECT count(*), max(n) FROM ledger')
[[ $rows == "$highest" ]] || fail "the ledger has $rows rows, but numbers up to $highest"
((rows >= written_before)) || fail "the ledger has $rows rows; $written_before were backed up"
lost=$((written > rows ? written - rows : 0))
note "Lost: $lost of $written acknowledged rows. But the documents are as the accident left them:"
sql -d shop -c "SELECT count(*) || ' documents' FROM documents"
stop_server restored

step "Back again: just before the accident"
show rekindle wal find
before_accident=lsn:$(rekindle --json wal find | python3 -c '
import json, sys
for event in json.load(sys.stdin)["happenings"]:
    if any(table["name"] == "documents" and table["deleted"] > 100000 for table in event["tables"]):
        print(event["before"])')
show rekindle --quiet restore --at "$before_accident" --exclusive --to before
start_server before
await_recovery
fingerprint shop >after
same_tables before-accident after
IFS=' ' read -r rows_then < <(sql -d shop -c 'SELECT count(*) FROM ledger')
printf '  %-12s %9s rows   %s of them written after the second backup\n' \
    ledger "$rows_then" $((rows_then - written_before))

step "One database out of the dump, beside the other"
show rekindle --quiet restore latest --service db --database shop --as shop_restored
fingerprint shop_restored >after-dump
same_tables before-accident after-dump
stop_server before

step "The same without Rekindle: stock $(restic version | cut -d' ' -f1-2) reads the vault"
from=$(now_ms)
show restic -r vault --password-file password --no-cache --quiet \
    restore latest --target from-restic --include /db/postgres/base
restic_ms=$(($(now_ms) - from))
# Out of the tree of the point, whose upper directories only root may enter.
show mv from-restic/db/postgres/base restored-by-restic
say_command "pg_ctl -D restored-by-restic -w start"
start_server restored-by-restic
fingerprint shop >after-restic
same_tables before-accident after-restic
restic_rows=$(sql -d shop -c 'SELECT count(*) FROM ledger')
((restic_rows >= written_before)) ||
    fail "the ledger has $restic_rows rows; $written_before were acknowledged before the second backup began"
printf '  %-12s %9s rows   as the second backup found it\n' ledger "$restic_rows"
stop_server restored-by-restic

line() { printf '  %-40s %14s\n' "$@"; }
step "In numbers"
line "read by a backup (directory and dump)" "$(mib "$second_size")"
line "stored, encrypted, after the first" "$(mib "$stored_first")"
line "first backup" "$(speed "$first_size" "$first_ms")"
line "second backup" "$(speed "$second_size" "$second_ms")"
line "added by the second" "$(mib "$second_added")"
line "stored after both" "$(mib "$stored_second")"
line "restore" "$(speed "$restored_bytes" "$restore_ms")"
line "restore took" "$(seconds "$restore_ms") s"
line "stock restic took" "$(seconds "$restic_ms") s"
line "disaster to first answer" "$(seconds "$back_ms") s"
line "acknowledged rows lost" "$lost of $written"
printf '\nEvery table came back identical: to the moment, from the dump, and by stock restic.\n'
